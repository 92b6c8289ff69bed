//! The vendor's documents of the software platforms, over the interface of a caching service (PCCS, version 4 of Intel's
//! provisioning certification API): what a daemon asks whose platform brings no collateral.

use std::{
    fmt::Write,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::get,
};
use crust_enclave_dev::collateral::{self, CollateralOptions};
use futures::stream;
use tokio::{net::TcpListener, task::AbortHandle};

/// The service. Dropped, it is gone.
pub struct Pccs {
    pub url: String,
    asked: Arc<AtomicUsize>,
    serving: AbortHandle,
}

impl Pccs {
    pub async fn start() -> anyhow::Result<Pccs> {
        Self::with(collateral::FMSPC).await
    }

    /// One that has the documents of another family, and gives them to all.
    pub async fn of_another_family() -> anyhow::Result<Pccs> {
        Self::with(*b"crust2").await
    }

    async fn with(fmspc: [u8; 6]) -> anyhow::Result<Pccs> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let published = collateral::make(&CollateralOptions { fmspc, ..CollateralOptions::around(now) })?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
        let signed = |kind: &str, document: &[u8], signature: &[u8]| -> anyhow::Result<String> {
            Ok(format!("{{\"{kind}\":{},\"signature\":\"{}\"}}", text(document)?, hex::encode(signature)))
        };
        let tcb = signed("tcbInfo", &published.tcb_info, &published.tcb_info_signature)?;
        let qe = signed("enclaveIdentity", &published.qe_identity, &published.qe_identity_signature)?;
        let documents = [
            ("pckcrl", "SGX-PCK-CRL-Issuer-Chain", &published.pck_crl_issuer_chain, published.pck_crl.to_vec()),
            ("tcb", "TCB-Info-Issuer-Chain", &published.tcb_info_issuer_chain, tcb.into_bytes()),
            ("qe/identity", "SGX-Enclave-Identity-Issuer-Chain", &published.qe_identity_issuer_chain, qe.into_bytes()),
            // The one that comes in hexadecimal, and whose header nobody reads.
            ("rootcacrl", "X", &published.pck_crl_issuer_chain, hex::encode(&published.root_ca_crl).into_bytes()),
        ];
        let asked = Arc::new(AtomicUsize::new(0));
        let mut router = Router::new();
        for (path, header, chain, body) in documents {
            let (chain, asked) = (in_a_header(chain)?, asked.clone());
            let answer = move || {
                asked.fetch_add(1, Ordering::Relaxed);
                std::future::ready(([(header, chain.clone())], body.clone()))
            };
            router = router.route(&format!("/sgx/certification/v4/{path}"), get(answer));
        }
        Self::serve(router, asked).await
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
        Self::serve(Router::new().fallback(answer), asked).await
    }

    async fn serve(router: Router, asked: Arc<AtomicUsize>) -> anyhow::Result<Pccs> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        Ok(Pccs { url, asked, serving })
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
