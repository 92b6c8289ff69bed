//! Reads the state that a block needs from the disk, much at once, before the block is executed.
//!
//! Executing a block asks for one key after the other, and each key for one node of the trie after the other: where
//! nothing is in memory, after a restart or far behind the others, a block of statements waits for the disk many
//! thousand times in a row. A disk answers dozens of questions in the time of one. So before a block is executed, the
//! runtime names the keys that it will read ([`PrefetchApi`]), and threads read them from the parent's state. What they
//! find stays in the trie's shared cache.
//!
//! All of it is a hint. A runtime that names no keys, or wrong ones, a parent without state, a disk that fails: the block is
//! imported as it would have been without, and what is wrong shows there.

use std::{sync::Arc, thread, time::Instant};

use pallet_mpow::prefetch::PrefetchApi;
use sc_client_api::{Backend, TrieCacheContext};
use sc_consensus::{BlockCheckParams, BlockImport, BlockImportParams, ImportResult, StateAction};
use sp_api::{ApiExt, ProvideRuntimeApi};
use sp_runtime::traits::{Block, Header};
use sp_state_machine::Backend as _;

/// Questions that the disk is asked at once. They wait, nearly all of their time: it is no matter of how many cores there
/// are.
const AT_ONCE: usize = 32;
/// Keys that a thread is begun for.
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

    fn prefetch<N>(&self, parent: N::Hash, extrinsics: &[N::Extrinsic])
    where
        N: Block,
        C: ProvideRuntimeApi<N, Api: PrefetchApi<N>>,
        B: Backend<N>,
    {
        let started = Instant::now();
        let mut read = 0_usize;
        for round in 0..ROUNDS {
            let runtime = self.client.runtime_api();
            if !runtime.has_api::<dyn PrefetchApi<N>>(parent).unwrap_or(false) {
                return;
            }
            let keys = match runtime.prefetch_keys(parent, extrinsics.to_vec(), round) {
                Ok(keys) => keys,
                Err(error) => return log::debug!("no keys named for a block on {parent}: {error}"),
            };
            if keys.is_empty() {
                break;
            }
            read = read.saturating_add(keys.len());
            read_at_once::<N, B>(&self.backend, parent, &keys);
        }
        log::trace!("{read} keys read for a block on {parent} in {:?}", started.elapsed());
    }
}

#[async_trait::async_trait]
impl<N, I, C, B> BlockImport<N> for Prefetch<I, C, B>
where
    N: Block,
    I: BlockImport<N> + Send + Sync,
    C: ProvideRuntimeApi<N, Api: PrefetchApi<N>> + Send + Sync,
    B: Backend<N>,
{
    type Error = I::Error;

    async fn check_block(&self, block: BlockCheckParams<N>) -> Result<ImportResult, Self::Error> {
        self.inner.check_block(block).await
    }

    async fn import_block(&self, block: BlockImportParams<N>) -> Result<ImportResult, Self::Error> {
        if let (StateAction::Execute | StateAction::ExecuteIfPossible, Some(extrinsics)) =
            (&block.state_action, &block.body)
            && extrinsics.len() > WORTH_A_THREAD
        {
            self.prefetch::<N>(*block.header.parent_hash(), extrinsics);
        }
        self.inner.import_block(block).await
    }
}

/// Reads keys of the state after a block.
fn read_at_once<N: Block, B: Backend<N>>(backend: &B, block: N::Hash, keys: &[Vec<u8>]) {
    let share = keys.len().div_ceil(AT_ONCE).max(WORTH_A_THREAD);
    thread::scope(|scope| {
        for keys in keys.chunks(share) {
            let reader = move || {
                // Whoever goes along the path of a key has it in the cache, when the state is dropped.
                let Ok(state) = backend.state_at(block, TrieCacheContext::Trusted) else { return };
                for key in keys {
                    if let Err(error) = state.storage(key) {
                        return log::debug!("cannot read the state of {block}: {error}");
                    }
                }
            };
            if let Err(error) = thread::Builder::new().name("prefetch".into()).spawn_scoped(scope, reader) {
                return log::debug!("no thread to read the state of {block}: {error}");
            }
        }
    });
}
