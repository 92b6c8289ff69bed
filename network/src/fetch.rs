//! A file's blocks in the order of its walk, fetched ahead of the reader as far as the session's budget goes.

use bytes::Bytes;
use crust_protocol::{
    file::Cid,
    walk::{self, Block, Limits, Walk},
};
use futures::{Stream, stream::try_unfold};

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
    try_unfold((session, Walk::new(root, limits)), |(session, mut walk)| async move {
        let Some(cid) = walk.wanted() else { return Ok(None) };
        session.prefetch(walk.ahead().take(LOOK_AHEAD).filter(|cid| !walk.followed(cid)));
        let bytes = session.fetch(cid).await?;
        // The session has checked the bytes.
        walk.feed(&Block::checked_before(cid, &bytes))?;
        Ok(Some(((cid, bytes), (session, walk))))
    })
}
