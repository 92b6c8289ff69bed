//! Reads the state that a block needs from the disk, much at once, before the block is executed.
//!
//! Executing a block asks for one key after the other, and each key for one node of the trie after the other: where
//! nothing is in memory, after a restart or far behind the others, a block of statements waits for the disk many
//! thousand times in a row. A disk answers dozens of questions in the time of one. So before a block is executed, the
//! runtime names the keys that it will touch ([`PrefetchApi`]), and threads read them from the parent's state. What they
//! find stays in the trie's shared cache.
//!
//! All of it is a hint. A runtime that names no keys, or wrong ones, a parent without state, a disk that fails: the block is
//! imported as it would have been without, and what is wrong shows there. Whoever serves a block cannot have anything read
//! by it: its header, which its author sealed, says which body it has, and that is looked at first. What an author can have
//! read is bounded, too ([`MAX_KEYS`]).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Instant,
};

use codec::Encode;
use pallet_mpow::prefetch::{MAX_KEYS, PrefetchApi};
use sc_client_api::{Backend, TrieCacheContext};
use sc_consensus::{BlockCheckParams, BlockImport, BlockImportParams, ImportResult, StateAction};
use sp_api::{ApiExt, Core, ProvideRuntimeApi};
use sp_panic_handler::AbortGuard;
use sp_runtime::traits::{Block, Hash, HashingFor, Header};
use sp_state_machine::Backend as _;

/// Questions that the disk is asked at once. They wait, nearly all of their time: it is no matter of how many cores there
/// are.
const AT_ONCE: usize = 32;
/// Keys that a thread is begun for; fewer than these are not worth any.
const WORTH_A_THREAD: usize = 8;
/// Rounds at most, whatever a runtime says.
const ROUNDS: u32 = 4;

/// Imports blocks as `inner` does, with the state at hand that they need.
#[derive(Clone)]
pub struct Prefetch<I, C, B> {
    inner: I,
    client: Arc<C>,
    backend: Arc<B>,
}

impl<I, C, B> Prefetch<I, C, B> {
    pub fn new(inner: I, client: Arc<C>, backend: Arc<B>) -> Self {
        Prefetch { inner, client, backend }
    }

    /// Reads what a block will touch, if it is to be executed and its body is that of its header. Says how many keys.
    pub fn prefetch<N>(&self, block: &BlockImportParams<N>) -> usize
    where
        N: Block,
        C: ProvideRuntimeApi<N, Api: Core<N> + PrefetchApi<N>>,
        B: Backend<N>,
    {
        let (StateAction::Execute | StateAction::ExecuteIfPossible, Some(extrinsics)) =
            (&block.state_action, &block.body)
        else {
            return 0;
        };
        let started = Instant::now();
        match self.read_for::<N>(&block.header, extrinsics) {
            Ok(read) => {
                log::trace!("{read} keys read for {:?} in {:?}", block.header.hash(), started.elapsed());
                read
            }
            Err(error) => {
                log::debug!("nothing is read ahead for {:?}: {error}", block.header.hash());
                0
            }
        }
    }

    fn read_for<N>(&self, header: &N::Header, extrinsics: &[N::Extrinsic]) -> Result<usize, sp_api::ApiError>
    where
        N: Block,
        C: ProvideRuntimeApi<N, Api: Core<N> + PrefetchApi<N>>,
        B: Backend<N>,
    {
        let parent = *header.parent_hash();
        let runtime = self.client.runtime_api();
        // An inherent or two name nothing.
        if extrinsics.len() < WORTH_A_THREAD || !runtime.has_api::<dyn PrefetchApi<N>>(parent)? {
            return Ok(0);
        }
        let version = runtime.version(parent)?.extrinsics_root_state_version();
        let encoded = extrinsics.iter().map(Encode::encode).collect();
        if HashingFor::<N>::ordered_trie_root(encoded, version) != *header.extrinsics_root() {
            return Ok(0);
        }
        let mut read = 0_usize;
        for round in 0..ROUNDS {
            let mut keys = self.client.runtime_api().prefetch_keys(parent, extrinsics.to_vec(), round)?;
            keys.sort_unstable();
            keys.dedup();
            keys.truncate(MAX_KEYS.saturating_sub(read));
            if keys.len() < WORTH_A_THREAD {
                break;
            }
            read = read.saturating_add(keys.len());
            read_at_once::<N, B>(&self.backend, parent, &keys);
        }
        Ok(read)
    }
}

#[async_trait::async_trait]
impl<N, I, C, B> BlockImport<N> for Prefetch<I, C, B>
where
    N: Block,
    I: BlockImport<N> + Send + Sync,
    C: ProvideRuntimeApi<N, Api: Core<N> + PrefetchApi<N>> + Send + Sync,
    B: Backend<N>,
{
    type Error = I::Error;

    async fn check_block(&self, block: BlockCheckParams<N>) -> Result<ImportResult, Self::Error> {
        self.inner.check_block(block).await
    }

    async fn import_block(&self, block: BlockImportParams<N>) -> Result<ImportResult, Self::Error> {
        self.prefetch(&block);
        self.inner.import_block(block).await
    }
}

/// Reads keys of the state after a block.
fn read_at_once<N: Block, B: Backend<N>>(backend: &B, block: N::Hash, keys: &[Vec<u8>]) {
    let share = keys.len().div_ceil(AT_ONCE).max(WORTH_A_THREAD);
    let read = |keys: &[Vec<u8>]| {
        // Whoever goes along the path of a key has it in the cache, when the state is dropped.
        let Ok(state) = backend.state_at(block, TrieCacheContext::Trusted) else { return };
        for key in keys {
            if let Err(error) = state.storage(key) {
                return log::debug!("cannot read the state of {block}: {error}");
            }
        }
    };
    thread::scope(|scope| {
        for keys in keys.chunks(share) {
            // The database panics where the disk fails. That is the import's affair, which sees it next.
            let reader = move || {
                let _guard = AbortGuard::force_unwind();
                let _ = catch_unwind(AssertUnwindSafe(|| read(keys)));
            };
            if let Err(error) = thread::Builder::new().name("prefetch".into()).spawn_scoped(scope, reader) {
                return log::debug!("no thread to read the state of {block}: {error}");
            }
        }
    });
}
