//! Whole messages in and out of a stream. Memory for a message is taken from a budget before it is read; a peer that
//! stops in the middle, or does not read what it asked for, loses the stream. So does one that is slow while others wait
//! for memory, in either direction: nobody can sit on it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

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

/// While others wait for memory, a message must come or go at this rate after a first second, in bytes a second.
const CROWDED_RATE: u128 = 256 << 10;
const CROWDED_GRACE: Duration = Duration::from_secs(1);

/// Bytes that may be held for some purpose, over all peers.
#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>, Arc<AtomicUsize>);

/// Bytes taken from a budget until dropped.
pub(crate) struct Held(#[expect(dead_code, reason = "gives the bytes back when it is dropped")] OwnedSemaphorePermit);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Budget(Arc::new(Semaphore::new(bytes >> 10)), Arc::default())
    }

    /// Waits until so many bytes are free.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Held> {
        let _waiting = Waiting::new(&self.1);
        self.0.clone().acquire_many_owned(kibibytes(bytes)).await.ok().map(Held)
    }

    /// Whether somebody waits for bytes.
    pub(crate) fn is_crowded(&self) -> bool {
        self.1.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn try_take(&self, bytes: usize) -> Option<Held> {
        self.0.clone().try_acquire_many_owned(kibibytes(bytes)).ok().map(Held)
    }
}

/// Counts who waits, for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
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

/// The body of a message. `moved` is called while a long one comes in; while the memory that it takes is `crowded`, it
/// must come fast.
pub(crate) async fn read_body<S: AsyncRead + Unpin>(
    stream: &mut S,
    length: usize,
    moved: impl Fn(),
    crowded: impl Fn() -> bool,
) -> io::Result<Bytes> {
    let seconds = u64::try_from(length >> 14).unwrap_or(u64::MAX);
    let started = Instant::now();
    let body = async {
        let mut body = BytesMut::with_capacity(length);
        let mut left = length;
        while body.len() < length {
            let start = body.len();
            body.resize(length.min(start.saturating_add(PIECE)), 0);
            let mut rest = body.get_mut(start..).unwrap_or_default();
            while !rest.is_empty() {
                let Ok(read) = timeout(CROWDED_GRACE, stream.read(rest)).await else {
                    if crowded() {
                        return Err(timed_out());
                    }
                    continue;
                };
                let read = read?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                left = left.saturating_sub(read);
                if crowded() && too_slow(length.saturating_sub(left), started) {
                    return Err(timed_out());
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

/// Writes a message; every single write has `patience`, and while the memory that it takes is `crowded` it must go fast.
pub(crate) async fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    pieces: &[Bytes],
    patience: Duration,
    crowded: impl Fn() -> bool,
) -> io::Result<()> {
    let started = Instant::now();
    let mut gone: usize = 0;
    for piece in pieces {
        let mut rest: &[u8] = piece;
        let mut moved = Instant::now();
        while !rest.is_empty() {
            let Ok(written) = timeout(CROWDED_GRACE.min(patience), stream.write(rest)).await else {
                if crowded() || moved.elapsed() >= patience {
                    return Err(timed_out());
                }
                continue;
            };
            let written = written?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            moved = Instant::now();
            gone = gone.saturating_add(written);
            rest = rest.get(written..).unwrap_or_default();
            if crowded() && too_slow(gone, started) {
                return Err(timed_out());
            }
        }
    }
    timeout(patience, stream.flush()).await.map_err(|_| timed_out())?
}

/// Whether a message that is under way since `started` moves more slowly than one may while others wait.
fn too_slow(moved: usize, started: Instant) -> bool {
    let took = started.elapsed();
    took > CROWDED_GRACE && as_u128(moved).saturating_mul(1_000) < took.as_millis().saturating_mul(CROWDED_RATE)
}

fn as_u128(bytes: usize) -> u128 {
    u128::try_from(bytes).unwrap_or(u128::MAX)
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message over 4 MiB")
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}
