//! Whole messages in and out of a stream. Memory for a message is taken from a budget before it is read; a peer that
//! stops in the middle, or does not read what it asked for, loses the stream.

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::message::MAX_MESSAGE;

/// A reader takes this much at a time.
const PIECE: usize = 256 << 10;
/// A message shorter than this is no sign of progress: answers such as "do not have" are not what a fetch waits for.
const PROGRESS: usize = 16 << 10;
/// Within this time, and a second more for every 16 KiB, a message that has begun must be complete.
const MESSAGE_TIME: Duration = Duration::from_secs(20);

/// Bytes that may be held for some purpose, over all peers.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

/// Bytes taken from a budget until dropped.
pub(crate) struct Held(#[expect(dead_code, reason = "gives the bytes back when it is dropped")] OwnedSemaphorePermit);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Budget(Arc::new(Semaphore::new(bytes >> 10)))
    }

    /// Waits until so many bytes are free.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Held> {
        self.0.clone().acquire_many_owned(kibibytes(bytes)).await.ok().map(Held)
    }

    pub(crate) fn try_take(&self, bytes: usize) -> Option<Held> {
        self.0.clone().try_acquire_many_owned(kibibytes(bytes)).ok().map(Held)
    }
}

fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

/// The length of the next message; `None` at the stream's orderly end.
pub(crate) async fn read_length<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<usize>> {
    let mut value: usize = 0;
    for shift in [0, 7, 14, 21] {
        let mut byte = [0u8; 1];
        if stream.read(&mut byte).await? == 0 {
            return if shift == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let [byte] = byte;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return if value > MAX_MESSAGE { Err(too_long()) } else { Ok(Some(value)) };
        }
    }
    Err(too_long())
}

/// The body of a message. `moved` is called while a long one comes in.
pub(crate) async fn read_body<S: AsyncRead + Unpin>(
    stream: &mut S,
    length: usize,
    moved: impl Fn(),
) -> io::Result<Bytes> {
    let seconds = u64::try_from(length >> 14).unwrap_or(u64::MAX);
    let body = async {
        let mut body = BytesMut::with_capacity(length);
        while body.len() < length {
            let start = body.len();
            body.resize(length.min(start.saturating_add(PIECE)), 0);
            let mut rest = body.get_mut(start..).unwrap_or_default();
            while !rest.is_empty() {
                let read = stream.read(rest).await?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                rest = rest.get_mut(read..).unwrap_or_default();
                if length > PROGRESS {
                    moved();
                }
            }
        }
        Ok(body.freeze())
    };
    timeout(MESSAGE_TIME.saturating_add(Duration::from_secs(seconds)), body).await.map_err(|_| timed_out())?
}

/// Writes a message; every single write has `patience`.
pub(crate) async fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    pieces: &[Bytes],
    patience: Duration,
) -> io::Result<()> {
    for piece in pieces {
        let mut rest: &[u8] = piece;
        while !rest.is_empty() {
            let written = timeout(patience, stream.write(rest)).await.map_err(|_| timed_out())??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = rest.get(written..).unwrap_or_default();
        }
    }
    timeout(patience, stream.flush()).await.map_err(|_| timed_out())?
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message over 4 MiB")
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}
