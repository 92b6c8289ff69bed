//! Answers what nodes ask for out of the file itself: no copy is kept. The network hashes every block again before it
//! leaves, and says so if the file is not what it was.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use crust_network::Blocks;
use crust_protocol::file::Cid;
use futures::{FutureExt, future::BoxFuture};

use super::{Import, LEAF};

/// A file that is being served.
pub struct Serve {
    state: Arc<State>,
}

struct State {
    import: Import,
    /// A leaf was not what it was.
    changed: AtomicBool,
    /// Bytes that went out.
    handed: AtomicU64,
    /// Leaves that went out at least once, by their number, and their bytes.
    once: Mutex<Once>,
}

#[derive(Default)]
struct Once {
    leaves: Vec<u64>,
    bytes: u64,
}

impl Serve {
    pub fn new(import: Import) -> Serve {
        let state =
            State { import, changed: AtomicBool::new(false), handed: AtomicU64::new(0), once: Mutex::default() };
        Serve { state: Arc::new(state) }
    }

    pub fn import(&self) -> &Import {
        &self.state.import
    }

    /// Whether the file turned out to have changed since it was cut.
    pub fn changed(&self) -> bool {
        self.state.changed.load(Ordering::Relaxed)
    }

    /// Bytes handed out so far.
    pub fn handed(&self) -> u64 {
        self.state.handed.load(Ordering::Relaxed)
    }

    /// Bytes of the leaves that were handed out, each counted once.
    pub fn handed_once(&self) -> u64 {
        self.state.once.lock().map_or(0, |once| once.bytes)
    }
}

impl Blocks for Serve {
    fn size(&self, cid: Cid) -> BoxFuture<'_, Option<u32>> {
        std::future::ready(self.state.import.block_size(cid)).boxed()
    }

    fn get(&self, cid: Cid) -> BoxFuture<'_, Option<Bytes>> {
        let state = self.state.clone();
        async move { tokio::task::spawn_blocking(move || state.read(cid)).await.ok().flatten() }.boxed()
    }

    fn wrong(&self, _: Cid) {
        self.state.changed.store(true, Ordering::Relaxed);
    }
}

impl State {
    fn read(&self, cid: Cid) -> Option<Bytes> {
        self.import.block_size(cid)?;
        let Ok(bytes) = self.import.block(cid) else {
            self.changed.store(true, Ordering::Relaxed);
            return None;
        };
        self.handed.fetch_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if let Some((offset, length)) = self.import.place(cid)
            && let Ok(mut once) = self.once.lock()
        {
            once.count(offset, length);
        }
        Some(bytes)
    }
}

impl Once {
    fn count(&mut self, offset: u64, length: u32) {
        let leaf = usize::try_from(offset).unwrap_or(usize::MAX) / LEAF;
        let (word, bit) = (leaf / 64, leaf % 64);
        if self.leaves.len() <= word {
            self.leaves.resize(word.saturating_add(1), 0);
        }
        if let Some(word) = self.leaves.get_mut(word)
            && *word & (1 << bit) == 0
        {
            *word |= 1 << bit;
            self.bytes = self.bytes.saturating_add(length.into());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::{Seek, SeekFrom, Write};

    use crust_protocol::file::{Codec, HashFunction};

    use super::*;

    #[tokio::test]
    async fn blocks_come_out_of_the_file_until_it_changes() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let leaf = vec![1; LEAF];
        // The first leaf stands twice.
        for bytes in [&leaf[..], &leaf, b"rest"] {
            file.write_all(bytes).unwrap();
        }
        file.flush().unwrap();
        let serve = Serve::new(Import::of(file.path(), &|_| ()).unwrap());
        let root = serve.import().root();
        let (first, last) = (Cid::of(Codec::Raw, HashFunction::Sha2_256, &leaf), raw(b"rest"));
        assert!(root.names(&serve.get(root).await.unwrap()));
        assert_eq!(serve.handed_once(), 0);
        for _ in 0..2 {
            assert_eq!(serve.get(first).await.unwrap(), leaf);
            assert_eq!(serve.size(first).await, u32::try_from(LEAF).ok());
        }
        assert_eq!(serve.handed_once(), u64::try_from(LEAF).unwrap());
        assert_eq!(serve.get(raw(b"other")).await, None);
        assert_eq!(serve.size(raw(b"other")).await, None);
        assert!(!serve.changed());

        file.seek(SeekFrom::End(-1)).unwrap();
        file.write_all(b"!").unwrap();
        file.flush().unwrap();
        assert_eq!(serve.get(last).await.unwrap(), "res!");
        assert!(!serve.changed());
        // As the network does.
        serve.wrong(last);
        assert!(serve.changed());
    }

    #[tokio::test]
    async fn a_file_that_has_become_shorter_has_changed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"some bytes").unwrap();
        let serve = Serve::new(Import::of(file.path(), &|_| ()).unwrap());
        file.as_file().set_len(3).unwrap();
        assert_eq!(serve.get(raw(b"some bytes")).await, None);
        assert!(serve.changed());
    }

    fn raw(bytes: &[u8]) -> Cid {
        Cid::of(Codec::Raw, HashFunction::Sha2_256, bytes)
    }
}
