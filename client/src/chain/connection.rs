//! The connection to a chain node: made again whenever it is lost, and with a limit on the time of every request.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use subxt::rpcs::{
    Error as RpcError, RpcClient, RpcClientT,
    client::{RawRpcFuture, RawRpcSubscription, RawValue},
};
use tokio::{sync::Mutex, time::timeout};

use super::Error;

/// Time for a connection to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Times that a request is made again on a new connection.
const ATTEMPTS: u32 = 3;
/// Stands in the text of every failure, for layers that keep only the text.
pub(super) const MARK: &str = "connection to the chain";

/// A connection that is made when it is needed.
pub(super) struct Connection {
    url: String,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// Counts connections, so that of many requests that fail together only one drops it.
    number: u64,
    client: Option<Arc<RpcClient>>,
}

/// Why a request got no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{MARK} at {url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{MARK}: {0}")]
    Lost(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable { url, reason } => Error::Unreachable { url, reason },
            Failure::Lost(reason) => Error::Lost(reason),
        }
    }
}

impl From<Box<Failure>> for Error {
    fn from(failure: Box<Failure>) -> Self {
        (*failure).into()
    }
}

impl Connection {
    /// Checks the address and connects.
    pub(super) async fn open(url: &str) -> Result<Arc<Connection>, Error> {
        if !(url.starts_with("ws://") || url.starts_with("wss://")) {
            return Err(Error::Address { url: url.into(), reason: "it begins with neither ws:// nor wss://".into() });
        }
        let connection = Arc::new(Connection { url: url.into(), current: Mutex::default() });
        connection.client().await?;
        Ok(connection)
    }

    async fn client(&self) -> Result<(u64, Arc<RpcClient>), Failure> {
        let mut current = self.current.lock().await;
        if let Some(client) = &current.client {
            return Ok((current.number, client.clone()));
        }
        let unreachable = |reason: String| Failure::Unreachable { url: self.url.clone(), reason };
        let client = match timeout(CONNECT, RpcClient::from_insecure_url(&self.url)).await {
            Ok(Ok(client)) => Arc::new(client),
            Ok(Err(error)) => return Err(unreachable(cause(&error))),
            Err(_) => return Err(unreachable(format!("no answer within {} seconds", CONNECT.as_secs()))),
        };
        current.number = current.number.wrapping_add(1);
        current.client = Some(client.clone());
        Ok((current.number, client))
    }

    async fn drop_client(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current.number == number {
            current.client = None;
        }
    }

    async fn request(&self, method: &str, params: Option<Box<RawValue>>) -> Result<Box<RawValue>, RpcError> {
        let mut last = None;
        // Handed over twice, a transaction is refused the second time although the first may have arrived.
        let attempts = if method.starts_with("author_") { 1 } else { ATTEMPTS };
        for _ in 0..attempts {
            let (number, client) = self.client().await.map_err(failed)?;
            let failure = match timeout(ANSWER, client.request_raw(method, params.clone())).await {
                Ok(Err(RpcError::Client(error))) => Failure::Lost(cause(&*error)),
                Ok(Err(RpcError::DisconnectedWillReconnect(reason))) => Failure::Lost(reason),
                Ok(answer) => return answer,
                Err(_) => Failure::Lost(format!("no answer to {method} within {} seconds", ANSWER.as_secs())),
            };
            self.drop_client(number).await;
            last = Some(failure);
        }
        Err(failed(last.unwrap_or_else(|| Failure::Lost("no answer".into()))))
    }

    async fn subscribe(
        &self,
        subscribe: &str,
        params: Option<Box<RawValue>>,
        unsubscribe: &str,
    ) -> Result<RawRpcSubscription, RpcError> {
        let (number, client) = self.client().await.map_err(failed)?;
        let failure = match timeout(ANSWER, client.subscribe_raw(subscribe, params, unsubscribe)).await {
            Ok(Err(RpcError::Client(error))) => Failure::Lost(cause(&*error)),
            Ok(Err(RpcError::DisconnectedWillReconnect(reason))) => Failure::Lost(reason),
            Ok(subscription) => return subscription,
            Err(_) => Failure::Lost(format!("no answer to {subscribe} within {} seconds", ANSWER.as_secs())),
        };
        self.drop_client(number).await;
        Err(failed(failure))
    }
}

impl RpcClientT for Connection {
    fn request_raw<'a>(&'a self, method: &'a str, params: Option<Box<RawValue>>) -> RawRpcFuture<'a, Box<RawValue>> {
        self.request(method, params).boxed()
    }

    fn subscribe_raw<'a>(
        &'a self,
        subscribe: &'a str,
        params: Option<Box<RawValue>>,
        unsubscribe: &'a str,
    ) -> RawRpcFuture<'a, RawRpcSubscription> {
        self.subscribe(subscribe, params, unsubscribe).boxed()
    }
}

fn failed(failure: Failure) -> RpcError {
    RpcError::Client(Box::new(failure))
}

/// The innermost cause: the outer layers only say that a client failed.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().trim_start_matches("RPC error: client error: ").into()
}
