//! Sends messages to one peer, over a stream that is opened when there is something to send.

use std::{io, time::Duration};

use bytes::Bytes;
use futures::AsyncWriteExt;
use libp2p::{PeerId, Stream};
use tokio::time::timeout;

use super::{engine::Engine, frames, streams::OpenError};

/// A stream on which nothing was written for so long is closed.
pub(crate) const STREAM_IDLE: Duration = Duration::from_secs(60);

/// The way to a peer.
pub(crate) struct Sender {
    peer: PeerId,
    stream: Option<Stream>,
    /// What it sends takes memory that others may wait for.
    holds_memory: bool,
}

impl Sender {
    /// For our wants.
    pub(crate) fn of_wants(peer: PeerId) -> Self {
        Sender { peer, stream: None, holds_memory: false }
    }

    /// For blocks, which go fast or not at all while others wait for the memory that they take.
    pub(crate) fn of_blocks(peer: PeerId) -> Self {
        Sender { peer, stream: None, holds_memory: true }
    }

    /// Sends a message; a stream that broke is opened anew, once.
    pub(crate) async fn send(&mut self, engine: &Engine, pieces: &[Bytes]) -> Result<(), OpenError> {
        let reused = self.stream.is_some();
        match self.try_send(engine, pieces).await {
            Err(OpenError::Io(error)) if reused && error.kind() != io::ErrorKind::TimedOut => {
                self.try_send(engine, pieces).await
            }
            result => result,
        }
    }

    async fn try_send(&mut self, engine: &Engine, pieces: &[Bytes]) -> Result<(), OpenError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => engine.open(self.peer).await?,
        };
        let crowded = || self.holds_memory && engine.outgoing.is_crowded();
        frames::write(&mut stream, pieces, engine.options.write_timeout, crowded).await?;
        self.stream = Some(stream);
        Ok(())
    }

    pub(crate) async fn close(&mut self) {
        if let Some(mut stream) = self.stream.take() {
            let _ = timeout(STREAM_IDLE, stream.close()).await;
        }
    }
}
