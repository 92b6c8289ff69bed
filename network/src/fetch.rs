//! A file's blocks in the order of its walk, fetched ahead of the reader as far as the session's budget goes.

use bytes::Bytes;
use crust_protocol::{
    file::Cid,
    walk::{self, Block, Limits, Walk},
};
use futures::{Stream, future::ready, stream::try_unfold};

use crate::bitswap::session::{self, Session};

/// Links looked at when blocks are asked for ahead of time.
const LOOK_AHEAD: usize = 512;

/// Why a file could not be fetched.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// A block did not come.
    #[error(transparent)]
    Session(#[from] session::Error),
    /// The graph is not one that can be stored.
    #[error("the file cannot be read: {0}")]
    Walk(#[from] walk::Error),
}

impl Error {
    /// Whether trying again later may succeed: what is wrong with a graph stays wrong.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::Session(error) if error.is_retryable())
    }
}

/// The blocks under `root`, each checked, in the order in which a [`Walk`] wants them: whoever feeds them to a walk of
/// its own gets the file's stream.
pub fn stream(session: Session, root: Cid, limits: Limits) -> impl Stream<Item = Result<(Cid, Bytes), Error>> + Send {
    stream_after(session, root, limits, |_| ready(None))
}

/// The same, of a file whose first blocks `known` has: no peer is asked for them.
pub fn stream_after<Known, Found>(
    session: Session,
    root: Cid,
    limits: Limits,
    known: Known,
) -> impl Stream<Item = Result<(Cid, Bytes), Error>> + Send
where
    Known: Fn(Cid) -> Found + Send,
    Found: Future<Output = Option<Bytes>> + Send,
{
    try_unfold((session, Walk::new(root, limits), known), |(session, mut walk, known)| async move {
        let Some(cid) = walk.wanted() else { return Ok(None) };
        let bytes = match known(cid).await.filter(|bytes| cid.names(bytes)) {
            Some(bytes) => bytes,
            None => {
                session.prefetch(walk.ahead().take(LOOK_AHEAD).filter(|cid| !walk.followed(cid)));
                session.fetch(cid).await?
            }
        };
        // They were checked just now, or by the session.
        walk.feed(&Block::checked_before(cid, &bytes))?;
        Ok(Some(((cid, bytes), (session, walk, known))))
    })
}
