//! The vendor's documents of the software platforms, over the interface of a caching service (PCCS, version 4 of Intel's
//! provisioning certification API): what a daemon asks whose platform brings no collateral.

use std::{
    collections::BTreeMap,
    fmt::Write,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::StatusCode,
    routing::get,
};
use crust_enclave_dev::collateral::{self, CollateralOptions};
use futures::stream;
use tokio::{net::TcpListener, task::AbortHandle};

/// Where the documents are, under the path of the interface.
const PATHS: [&str; 4] = ["pckcrl", "tcb", "qe/identity", "rootcacrl"];

/// The service. Dropped, it is gone.
pub struct Pccs {
    pub url: String,
    asked: Arc<AtomicUsize>,
    documents: Arc<Mutex<Documents>>,
    serving: AbortHandle,
}

/// What is answered at each path: a header with certificates, and the body.
type Documents = BTreeMap<&'static str, ([(&'static str, String); 1], Vec<u8>)>;

impl Pccs {
    pub async fn start() -> anyhow::Result<Pccs> {
        Self::with(&Self::of_today()?).await
    }

    /// One that has the documents of another family, and gives them to all.
    pub async fn of_another_family() -> anyhow::Result<Pccs> {
        Self::with(&CollateralOptions { fmspc: *b"crust2", ..Self::of_today()? }).await
    }

    /// What the vendor publishes by itself.
    pub fn of_today() -> anyhow::Result<CollateralOptions> {
        Ok(CollateralOptions::around(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()))
    }

    /// Has other documents from now on.
    pub fn publish(&self, options: &CollateralOptions) -> anyhow::Result<()> {
        let documents = documents(options)?;
        *lock(&self.documents) = documents;
        Ok(())
    }

    async fn with(options: &CollateralOptions) -> anyhow::Result<Pccs> {
        let (asked, documents) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(documents(options)?)));
        let mut router = Router::new();
        for path in PATHS {
            let (asked, documents) = (asked.clone(), documents.clone());
            let answer = move || {
                asked.fetch_add(1, Ordering::Relaxed);
                std::future::ready(lock(&documents).get(path).cloned().ok_or(StatusCode::NOT_FOUND))
            };
            router = router.route(&format!("/sgx/certification/v4/{path}"), get(answer));
        }
        Self::serve(router, asked, documents).await
    }

    /// One that answers whatever is asked without an end.
    pub async fn endless() -> anyhow::Result<Pccs> {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let answer = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let pieces = stream::repeat_with(|| io::Result::Ok(Bytes::from_static(&[b'x'; 1 << 16])));
            std::future::ready(Body::from_stream(pieces))
        };
        Self::serve(Router::new().fallback(answer), asked, Arc::default()).await
    }

    async fn serve(router: Router, asked: Arc<AtomicUsize>, documents: Arc<Mutex<Documents>>) -> anyhow::Result<Pccs> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        Ok(Pccs { url, asked, documents, serving })
    }

    /// How many documents were asked for.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Pccs {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(documents: &Mutex<Documents>) -> MutexGuard<'_, Documents> {
    documents.lock().unwrap_or_else(PoisonError::into_inner)
}

fn documents(options: &CollateralOptions) -> anyhow::Result<Documents> {
    let published = collateral::make(options)?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
    let signed = |kind: &str, document: &[u8], signature: &[u8]| -> anyhow::Result<Vec<u8>> {
        Ok(format!("{{\"{kind}\":{},\"signature\":\"{}\"}}", text(document)?, hex::encode(signature)).into_bytes())
    };
    let tcb = signed("tcbInfo", &published.tcb_info, &published.tcb_info_signature)?;
    let qe = signed("enclaveIdentity", &published.qe_identity, &published.qe_identity_signature)?;
    let crl = in_a_header(&published.pck_crl_issuer_chain)?;
    let [pck_crl, tcb_info, qe_identity, root_crl] = PATHS;
    Ok([
        (pck_crl, ([("SGX-PCK-CRL-Issuer-Chain", crl.clone())], published.pck_crl.to_vec())),
        (tcb_info, ([("TCB-Info-Issuer-Chain", in_a_header(&published.tcb_info_issuer_chain)?)], tcb)),
        (qe_identity, ([("SGX-Enclave-Identity-Issuer-Chain", in_a_header(&published.qe_identity_issuer_chain)?)], qe)),
        // The one that comes in hexadecimal, and whose header nobody reads.
        (root_crl, ([("X", crl)], hex::encode(&published.root_ca_crl).into_bytes())),
    ]
    .into())
}

/// Certificates as they stand in a header: percent-encoded.
fn in_a_header(chain: &[u8]) -> anyhow::Result<String> {
    let mut encoded = String::new();
    for byte in chain {
        match byte.is_ascii_alphanumeric() {
            true => encoded.push(char::from(*byte)),
            false => write!(encoded, "%{byte:02X}")?,
        }
    }
    Ok(encoded)
}
