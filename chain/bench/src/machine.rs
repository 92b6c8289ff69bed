//! The runtime's wasm in the executor that a node has, over a state in memory: how long a call takes, which keys it
//! reads and which it writes.
//!
//! Time is without any database: the state is a map. A key counts as read when the call asks for it before it wrote it,
//! once, however often it asks; as written once, however often it writes.

use std::{
    any::{Any, TypeId},
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use codec::{Decode, Encode};
use crust_runtime::{Block, Header, UncheckedExtrinsic};
use sc_executor::WasmExecutor;
use sp_core::traits::{CallContext, CodeExecutor, RuntimeCode, WrappedRuntimeCode};
use sp_externalities::{Extension, ExtensionStore, Externalities, MultiRemovalResults};
use sp_runtime::ApplyExtrinsicResult;
use sp_state_machine::BasicExternalities;
use sp_storage::{ChildInfo, StateVersion, TrackedStorageKey};

/// What the node lends to the runtime.
pub type HostFunctions = (sp_io::SubstrateHostFunctions, crust_evidence::HostFunctions);
/// The node's executor.
pub type Executor = WasmExecutor<HostFunctions>;

/// How long a figure is measured for, and how often at least and at most.
const LONG_ENOUGH: Duration = Duration::from_millis(1_500);
const ENOUGH: u32 = 10;
const OFTEN_ENOUGH: u32 = 1_000;

/// Applies a transaction to the state of a block in the making.
pub const APPLY: &str = "BlockBuilder_apply_extrinsic";

pub fn executor() -> Executor {
    WasmExecutor::builder().with_max_runtime_instances(8).build()
}

/// The keys that a call touched.
#[derive(Clone, Default)]
pub struct Keys {
    read: BTreeSet<Vec<u8>>,
    written: BTreeSet<Vec<u8>>,
}

impl Keys {
    /// The keys that this has read and the other one has not touched.
    #[cfg(test)]
    pub fn read_alone<'a>(&'a self, other: &Keys) -> BTreeSet<&'a Vec<u8>> {
        let untouched = |key: &&Vec<u8>| !other.read.contains(*key) && !other.written.contains(*key);
        self.read.iter().filter(untouched).collect()
    }

    /// Whether this has read or written a key.
    #[cfg(test)]
    pub fn has(&self, key: &[u8]) -> bool {
        self.read.contains(key) || self.written.contains(key)
    }

    /// How many were read and how many written that some other call has not.
    pub fn beyond(&self, other: &Keys) -> (f64, f64) {
        let count = |keys: &BTreeSet<Vec<u8>>, other| keys.difference(other).fold(0.0, |count, _| count + 1.0);
        (count(&self.read, &other.read), count(&self.written, &other.written))
    }
}

/// What a call costs: microseconds, keys read, keys written.
#[derive(Clone, Copy, Default, Debug)]
pub struct Cost {
    pub micros: f64,
    pub reads: f64,
    pub writes: f64,
}

impl Cost {
    /// With another one, component by component.
    pub fn with(self, other: Cost, combine: impl Fn(f64, f64) -> f64) -> Cost {
        Cost {
            micros: combine(self.micros, other.micros),
            reads: combine(self.reads, other.reads),
            writes: combine(self.writes, other.writes),
        }
    }

    pub fn most(self, other: Cost) -> Cost {
        self.with(other, f64::max)
    }

    /// What is more than the other one.
    pub fn beyond(self, other: Cost) -> Cost {
        self.with(other, |this, other| (this - other).max(0.0))
    }

    pub fn share(self, of: u32) -> Cost {
        self.with(self, |this, _| this / f64::from(of))
    }
}

/// The wasm and its executor.
pub struct Machine {
    executor: Executor,
    code: &'static [u8],
    /// Of the code: by it the executor knows what it has compiled.
    hash: Vec<u8>,
    /// How often a call is timed; once, or as often as a figure needs.
    pub timed: bool,
}

impl Machine {
    pub fn new(timed: bool) -> anyhow::Result<Self> {
        let code = crust_runtime::WASM_BINARY.context("built without the wasm: build without SKIP_WASM_BUILD")?;
        Ok(Machine { executor: executor(), code, hash: sp_io::hashing::blake2_256(code).to_vec(), timed })
    }

    /// Calls a function of the runtime.
    pub fn call(&self, ext: &mut dyn Externalities, method: &str, data: &[u8]) -> anyhow::Result<Vec<u8>> {
        let fetcher = WrappedRuntimeCode(self.code.into());
        let code = RuntimeCode { code_fetcher: &fetcher, heap_pages: None, hash: self.hash.clone() };
        let (answer, _) = self.executor.call(ext, &code, method, data, CallContext::Onchain { import: true });
        answer.map_err(|error| anyhow!("{method}: {error}"))
    }

    /// The keys that a call touches; the state is as before afterwards.
    pub fn keys(&self, state: &mut BasicExternalities, method: &str, data: &[u8]) -> anyhow::Result<(Vec<u8>, Keys)> {
        state.storage_start_transaction();
        let mut watched = Rootless { state: &mut *state, keys: Some(Keys::default()) };
        let answer = self.call(&mut watched, method, data);
        let keys = watched.keys.unwrap_or_default();
        ensure!(state.storage_rollback_transaction().is_ok(), "no transaction of the state is open");
        Ok((answer?, keys))
    }

    /// The time of a call in microseconds: the shortest of many, or their mean on the processor if that is less, for in the
    /// others the machine did something else, too. The state is as before afterwards.
    pub fn micros(&self, state: &mut dyn Externalities, method: &str, data: &[u8]) -> anyhow::Result<f64> {
        let (begun, before) = (Instant::now(), on_processor()?);
        let (mut shortest, mut often) = (f64::INFINITY, 0);
        while often == 0 || self.timed && often < OFTEN_ENOUGH && (often < ENOUGH || begun.elapsed() < LONG_ENOUGH) {
            state.storage_start_transaction();
            let started = Instant::now();
            let answer = self.call(state, method, data);
            shortest = shortest.min(started.elapsed().as_secs_f64() * 1e6);
            often += 1;
            ensure!(state.storage_rollback_transaction().is_ok(), "no transaction of the state is open");
            answer?;
        }
        Ok(shortest.min((on_processor()? - before) / f64::from(often)))
    }
}

impl Machine {
    /// Microseconds that each of these transactions takes in a block: executed as every node does it, in one instance of
    /// the runtime, less the same block without them. Each must be accepted and succeed. The state is as before
    /// afterwards.
    pub fn micros_in_block(
        &self,
        state: &mut BasicExternalities,
        begin: &Header,
        inherent: &UncheckedExtrinsic,
        transactions: &[UncheckedExtrinsic],
    ) -> anyhow::Result<f64> {
        let mut rootless = Rootless { state, keys: None };
        let mut took = |transactions: &[UncheckedExtrinsic]| -> anyhow::Result<f64> {
            let extrinsics: Vec<_> = std::iter::once(inherent).chain(transactions).cloned().collect();
            rootless.storage_start_transaction();
            let header = self.seal(&mut rootless, begin, &extrinsics);
            ensure!(rootless.storage_rollback_transaction().is_ok(), "no transaction of the state is open");
            let block = Block { header: header?, extrinsics };
            self.micros(&mut rootless, "Core_execute_block", &block.encode())
        };
        let (all, none) = (took(transactions)?, took(&[])?);
        Ok((all - none) / transactions.len() as f64)
    }

    /// The header of the block that these make.
    fn seal(&self, state: &mut Rootless, begin: &Header, extrinsics: &[UncheckedExtrinsic]) -> anyhow::Result<Header> {
        self.call(state, "Core_initialize_block", &begin.encode())?;
        for extrinsic in extrinsics {
            accepted(&self.call(state, APPLY, &extrinsic.encode())?)?;
        }
        Ok(Header::decode(&mut &*self.call(state, "BlockBuilder_finalize_block", &[])?)?)
    }
}

/// What a transaction answers that is accepted and succeeds.
pub fn accepted(answer: &[u8]) -> anyhow::Result<()> {
    let outcome = ApplyExtrinsicResult::decode(&mut &*answer)?;
    outcome.map_err(|error| anyhow!("refused: {error:?}"))?.map_err(|error| anyhow!("failed: {error:?}"))
}

/// Microseconds that this thread has had of a processor, as of when the kernel last looked: good to some milliseconds.
fn on_processor() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos: f64 = stat.split(' ').next().context("no time in schedstat")?.parse()?;
    Ok(nanos / 1e3)
}

/// A state of which no root is worked out, for that is the database's work: whatever it holds, its root is all zeros. It
/// may remember which of its keys were touched.
struct Rootless<'a> {
    state: &'a mut BasicExternalities,
    keys: Option<Keys>,
}

impl Rootless<'_> {
    fn reads(&mut self, key: &[u8]) {
        if let Some(keys) = &mut self.keys
            && !keys.written.contains(key)
        {
            keys.read.insert(key.to_vec());
        }
    }

    fn writes(&mut self, key: &[u8]) {
        if let Some(keys) = &mut self.keys {
            keys.written.insert(key.to_vec());
        }
    }
}

impl Externalities for Rootless<'_> {
    fn set_offchain_storage(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.state.set_offchain_storage(key, value);
    }

    fn storage(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.reads(key);
        self.state.storage(key)
    }

    fn storage_hash(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.reads(key);
        self.state.storage_hash(key)
    }

    fn child_storage_hash(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        self.state.child_storage_hash(child, key)
    }

    fn child_storage(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        self.state.child_storage(child, key)
    }

    fn next_storage_key(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let next = self.state.next_storage_key(key);
        if let Some(next) = &next {
            self.reads(next);
        }
        next
    }

    fn next_child_storage_key(&mut self, child: &ChildInfo, key: &[u8]) -> Option<Vec<u8>> {
        self.state.next_child_storage_key(child, key)
    }

    fn kill_child_storage(
        &mut self,
        child: &ChildInfo,
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        self.state.kill_child_storage(child, limit, cursor)
    }

    fn clear_prefix(&mut self, prefix: &[u8], limit: Option<u32>, cursor: Option<&[u8]>) -> MultiRemovalResults {
        self.state.clear_prefix(prefix, limit, cursor)
    }

    fn clear_child_prefix(
        &mut self,
        child: &ChildInfo,
        prefix: &[u8],
        limit: Option<u32>,
        cursor: Option<&[u8]>,
    ) -> MultiRemovalResults {
        self.state.clear_child_prefix(child, prefix, limit, cursor)
    }

    fn place_storage(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.writes(&key);
        self.state.place_storage(key, value);
    }

    fn place_child_storage(&mut self, child: &ChildInfo, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.state.place_child_storage(child, key, value);
    }

    fn storage_root(&mut self, _: StateVersion) -> Vec<u8> {
        vec![0; 32]
    }

    fn child_storage_root(&mut self, child: &ChildInfo, version: StateVersion) -> Vec<u8> {
        self.state.child_storage_root(child, version)
    }

    fn storage_append(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes(&key);
        self.state.storage_append(key, value);
    }

    fn storage_start_transaction(&mut self) {
        self.state.storage_start_transaction();
    }

    fn storage_rollback_transaction(&mut self) -> Result<(), ()> {
        self.state.storage_rollback_transaction()
    }

    fn storage_commit_transaction(&mut self) -> Result<(), ()> {
        self.state.storage_commit_transaction()
    }

    fn wipe(&mut self) {
        self.state.wipe();
    }

    fn commit(&mut self) {
        self.state.commit();
    }

    fn read_write_count(&self) -> (u32, u32, u32, u32) {
        self.state.read_write_count()
    }

    fn reset_read_write_count(&mut self) {
        self.state.reset_read_write_count();
    }

    fn get_whitelist(&self) -> Vec<TrackedStorageKey> {
        self.state.get_whitelist()
    }

    fn set_whitelist(&mut self, keys: Vec<TrackedStorageKey>) {
        self.state.set_whitelist(keys);
    }

    fn get_read_and_written_keys(&self) -> Vec<(Vec<u8>, u32, u32, bool)> {
        self.state.get_read_and_written_keys()
    }
}

impl ExtensionStore for Rootless<'_> {
    fn extension_by_type_id(&mut self, id: TypeId) -> Option<&mut dyn Any> {
        self.state.extension_by_type_id(id)
    }

    fn register_extension_with_type_id(
        &mut self,
        id: TypeId,
        extension: Box<dyn Extension>,
    ) -> Result<(), sp_externalities::Error> {
        self.state.register_extension_with_type_id(id, extension)
    }

    fn deregister_extension_by_type_id(&mut self, id: TypeId) -> Result<(), sp_externalities::Error> {
        self.state.deregister_extension_by_type_id(id)
    }
}
