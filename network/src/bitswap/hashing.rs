//! Hashes of blocks. A large block takes about a millisecond, during which its task would keep others of its thread
//! waiting, so it is hashed elsewhere.

use bytes::Bytes;
use crust_protocol::file::{Cid, HashFunction};
use tokio::task::spawn_blocking;

/// Blocks up to this size are hashed where they are.
const SMALL: usize = 32 << 10;

/// The digest of some bytes; `None` only when the program is about to end.
pub(crate) async fn digest(function: HashFunction, data: &Bytes) -> Option<[u8; 32]> {
    if data.len() <= SMALL {
        return Some(function.digest(data));
    }
    let data = data.clone();
    spawn_blocking(move || function.digest(&data)).await.ok()
}

/// Whether a CID names some bytes.
pub(crate) async fn names(cid: Cid, data: &Bytes) -> bool {
    let multihash = cid.multihash();
    digest(multihash.function, data).await == Some(multihash.digest)
}
