//! A service of the vendor's documents, asked as its interface wants it (version 4 of Intel's provisioning certification
//! API). It need not be trusted: what it answers is signed by the vendor, and it cannot keep the daemon or fill its memory.

use std::{collections::BTreeMap, time::Duration};

use anyhow::ensure;
use dcap_qvl::{
    QuoteCollateralV3,
    collateral::CollateralClient,
    configs::DefaultConfig,
    http::{HttpClient, HttpResponse},
};
use tokio::time::timeout;

/// Time to answer all that is asked for one collateral.
const ANSWER: Duration = Duration::from_secs(60);
/// The longest document, in bytes. Those of today have some 20,000.
const LONGEST: usize = 256 << 10;

/// The documents of the family of a quote, by a service at a URL without the path of its interface. In words what is wrong
/// otherwise.
pub async fn fetch(url: &str, quote: &[u8]) -> Result<QuoteCollateralV3, String> {
    let fetch = async {
        // What the service says stands in its answer, not elsewhere.
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(ANSWER).build()?;
        CollateralClient::<DefaultConfig, Http>::new(Http(http), url).fetch(quote).await
    };
    let fetched = timeout(ANSWER, fetch).await.map_err(|_| "no answer in time".to_owned())?;
    // An error of several layers, the outer ones of which do not say what happened.
    fetched.map_err(|error| format!("{error:#}"))
}

struct Http(reqwest::Client);

impl HttpClient for Http {
    async fn get(&self, url: &str) -> anyhow::Result<HttpResponse> {
        let mut answer = self.0.get(url).send().await?;
        let (status, mut headers, mut body) = (answer.status().as_u16(), BTreeMap::new(), Vec::new());
        for (name, value) in answer.headers() {
            headers.insert(name.as_str().to_owned(), value.to_str()?.to_owned());
        }
        while let Some(piece) = answer.chunk().await? {
            ensure!(body.len().saturating_add(piece.len()) <= LONGEST, "{url}: more than {LONGEST} bytes");
            body.extend_from_slice(&piece);
        }
        Ok(HttpResponse { status, headers, body })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::{
        Router,
        body::{Body, Bytes},
        response::Redirect,
        routing::get,
    };
    use crust_enclave_dev::platform::SoftwarePlatform;
    use futures::stream;
    use tokio::net::TcpListener;

    use super::*;

    async fn fetch_from(router: Router) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await });
        let quote = SoftwarePlatform::from_seed([7; 32]).unwrap().quote(&[0; 64]);
        let problem = fetch(&url, &quote).await.unwrap_err();
        serving.abort();
        problem
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_cut_off() {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = sent.clone();
        let endless = move || {
            let counted = counted.clone();
            let piece = move || {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1 << 16]))
            };
            std::future::ready(Body::from_stream(stream::repeat_with(piece)))
        };
        let problem = fetch_from(Router::new().fallback(endless)).await;
        assert!(problem.contains("more than 262144 bytes"), "{problem}");
        // What is under way in the sockets comes on top.
        assert!(sent.load(Ordering::Relaxed) < 1_000, "{sent:?} pieces of 64 KiB");
    }

    #[tokio::test]
    async fn nobody_is_sent_elsewhere() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let elsewhere = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready("")
        };
        let sent_on = || std::future::ready(Redirect::temporary("/elsewhere"));
        let problem = fetch_from(Router::new().route("/elsewhere", get(elsewhere)).fallback(sent_on)).await;
        assert!(problem.contains("HTTP 307"), "{problem}");
        assert_eq!(asked.load(Ordering::Relaxed), 0);
    }
}
