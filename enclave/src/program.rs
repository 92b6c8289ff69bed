//! What the production programs share: one for each platform, so that none can be told to take another.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
};

use crust_protocol::quote::Quoted;

use crate::{
    Constants, Enclave, RELEASE,
    platform::{self, Platform},
    rpc::{About, PROTOCOL},
    server::Server,
};

const COMMIT: &str = match option_env!("CRUST_COMMIT") {
    Some(commit) => commit,
    None => "commit unknown",
};

/// Why a program stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("usage: {program} ADDRESS:PORT, where the node's daemon is served")]
    Usage { program: String },
    #[error(transparent)]
    Platform(#[from] platform::Error),
    #[error("the quote of this machine is of no form that is known")]
    Quote,
    #[error("{address} cannot be served: {source}")]
    Socket { address: SocketAddr, source: io::Error },
}

/// Serves an enclave on a platform until the socket fails. The first argument is the address.
///
/// Gramine keeps Unix sockets to itself, and a guest has none in common with its host: here it is TCP, on an address
/// that the host opens to its daemon alone.
pub fn run(platform: Arc<dyn Platform>) -> Result<(), Error> {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let address =
        arguments.next().and_then(|address| address.parse::<SocketAddr>().ok()).filter(|_| arguments.next().is_none());
    let address = address.ok_or(Error::Usage { program })?;
    let about = About {
        protocol: PROTOCOL,
        release: RELEASE,
        measurement: Quoted::read(&platform.quote(&[0; 64])?).map_err(|_| Error::Quote)?.report.program(),
        development: false,
        commit: COMMIT.into(),
    };
    let server = Server::new(about, Enclave::new(platform, Constants::PRODUCTION));
    let failed = |source| Error::Socket { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let accept = || -> io::Result<TcpStream> {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    // What cannot be written, on a full disk say, is lost and stops nothing.
    let ended = |error| drop(writeln!(io::stderr(), "a connection ended: {error}"));
    server.listen(accept, ended).map_err(failed)
}
