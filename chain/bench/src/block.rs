//! A whole block over a database on disk: 3,000 reports of different nodes, every 24th with the answer to a draw, where
//! 100,000 nodes are registered.
//!
//! One process makes the database and the block, a second one imports it: a new client whose caches are empty, over
//! files that the kernel has dropped from its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, ensure};
use codec::{Decode, Encode};
use crust_prefetch::Prefetch;
use crust_protocol::{
    Hash, TOKEN, draw,
    file::{Cid, Codec, HashFunction},
    h,
    parameters::Parameters,
    statement::{Answer, Report, first_root},
};
use crust_runtime::{AccountId, Runtime, UncheckedExtrinsic, apis::RuntimeApi, opaque::Block};
use frame_support::BoundedVec;
use pallet_mpow::beacon::{Beacons, KEPT_BEACONS};
use pallet_storage_market::{
    Collateral, Counts, Entry, Holding, Listed, Live, NodeAccount, NodeAccounts, Order, Orders, Position,
};
use sc_block_builder::BlockBuilderBuilder;
use sc_client_api::{BlockBackend, HeaderBackend, execution_extensions::ExecutionExtensions};
use sc_client_db::{BlocksPruning, DatabaseSettings, DatabaseSource, PruningMode};
use sc_consensus::{BlockImport, BlockImportParams, ForkChoiceStrategy, ImportResult, StateAction};
use sc_service::{ClientConfig, TFullBackend, TFullClient};
use serde::{Deserialize, Serialize};
use sp_api::{Core, ProvideRuntimeApi};
use sp_consensus::BlockOrigin;
use sp_consensus_babe::digests::{CompatibleDigestItem, PreDigest, SecondaryPlainPreDigest};
use sp_core::{Pair, sr25519, storage::well_known_keys, testing::TaskExecutor};
use sp_runtime::{Digest, DigestItem, OpaqueExtrinsic};
use sp_state_machine::BasicExternalities;
use sp_storage::Storage;

use crate::{
    machine::{Executor, executor},
    world::{answer_for, chunk_of, genesis, insert_node, node_of, pair, said, sign},
};

type Client = TFullClient<Block, RuntimeApi, Executor>;

/// Nodes in the state, reports in the block.
#[derive(Clone, Copy)]
struct Scale {
    nodes: u32,
    reports: u32,
}

/// What is measured.
const FULL: Scale = Scale { nodes: 100_000, reports: 3_000 };
/// One report in so many brings an answer.
const ANSWERS: u32 = 24;
/// What every node holds: one file.
const SIZE: u64 = 1 << 30;
/// What the default of a node is.
const TRIE_CACHE: usize = 1 << 30;
/// The part of the files that may still be in the kernel's cache when it is called cold.
const COLD: f64 = 0.01;

/// Every block is a slot of its own, and reports may be in its first one: so the block after genesis has some. A block
/// watches as many nodes as one of production does where a slot has 600.
const PARAMETERS: Parameters =
    Parameters { slot_blocks: 1, beacon_blocks: 0, max_silent: 14_400, ..Parameters::PRODUCTION };
const SLOT: u32 = 1;

/// The beacon that draws.
fn beacon() -> Hash {
    h(&[b"the beacon of slot 1"])
}

fn enclave(node: u32) -> sr25519::Pair {
    pair(&format!("enclave {node}"))
}

/// The seed of what the beacon draws of a node, if it draws it.
fn seed(node: u32) -> Option<Hash> {
    draw::seed(&beacon(), node, PARAMETERS.audit_rate)
}

fn order_of(node: u32) -> Hash {
    h(&[b"order", &node.to_le_bytes()])
}

/// What a node that is drawn answers, under the audit root of its order.
fn answer_of(node: u32) -> anyhow::Result<Option<(Hash, Answer)>> {
    seed(node).map(|seed| answer_for(SIZE, chunk_of(&seed, SIZE)?)).transpose()
}

/// The state of the chain: every node with its machine, its collateral, and one file.
fn state(nodes: u32) -> anyhow::Result<Storage> {
    let mut storage = BasicExternalities::new(genesis(Parameters::PRODUCTION)?);
    storage.execute_with(|| -> anyhow::Result<()> {
        pallet_mpow::Parameters::<Runtime>::put(PARAMETERS);
        for node in 0..nodes {
            let provider = provider(node);
            let mut record = node_of(provider.clone(), &enclave(node).public(), node);
            record.registered_until = PARAMETERS.attestation_period;
            insert_node(node, record);
            let taken = (1..4).map(|slot| (100 + slot, 1)).collect();
            let collateral = Collateral {
                deposited: TOKEN,
                reserved: TOKEN / 2,
                taken: BoundedVec::truncate_from(taken),
                ..Collateral::default()
            };
            let audit_root = answer_of(node)?.map_or([0; 32], |(root, _)| root);
            let (class, order) = (30, order_of(node));
            let mut counts = Counts::default();
            *counts.0.get_mut(usize::from(class)).context("no such class")? = 1;
            let holding = Holding { replicas: 1, bytes: SIZE, billed: SIZE, counts, ..Holding::default() };
            let account = NodeAccount { holding: Some(holding), collateral, leaving: false };
            NodeAccounts::<Runtime>::insert(node, account);
            Listed::<Runtime>::insert(node, Position { class, index: 0 }, Entry { order, bytes: SIZE });
            Orders::<Runtime>::insert(order, order_record(audit_root, node));
        }
        // As many as there can be, although there were not so many slots.
        let beacons = (SLOT + 1, beacon().repeat(usize::try_from(KEPT_BEACONS)?)).encode();
        let beacons = Beacons::decode(&mut &*beacons)?;
        pallet_mpow::SlotBeacons::<Runtime>::put(beacons);
        Ok(())
    })?;
    let mut storage = storage.into_storages();
    let code = crust_runtime::WASM_BINARY.context("built without the wasm: build without SKIP_WASM_BUILD")?;
    storage.top.insert(well_known_keys::CODE.to_vec(), code.to_vec());
    Ok(storage)
}

/// Four nodes are one provider's.
fn provider(node: u32) -> AccountId {
    AccountId::new(h(&[b"provider", &(node / 4).to_le_bytes()]))
}

fn order_record(audit_root: Hash, node: u32) -> Order {
    // Of other providers' nodes.
    let live = |nth: u32| Live { node: node + 4 * nth, provider: provider(node + 4 * nth) };
    Order {
        client: AccountId::new([3; 32]),
        nonce: node.into(),
        cid: Cid::new(Codec::Raw, HashFunction::Sha2_256, h(&[&node.to_le_bytes()])),
        size: SIZE,
        audit_root,
        flags: 0,
        replicas: 3,
        term: 1_000,
        placed: 0,
        start: 0,
        end: 1_000,
        rate: 1,
        balance: TOKEN,
        deposit: TOKEN,
        spent: 0,
        cancelled: false,
        number: node.into(),
        due: 1_000,
        vacated: (0, 0),
        takes: Default::default(),
        live: BoundedVec::truncate_from((0..3).map(live).collect()),
        free_takes: BoundedVec::truncate_from(vec![node, node + 1, node + 2]),
        offered: Default::default(),
    }
}

/// A client over the database in a folder; where there is none, it is made of a state.
fn client(folder: &Path, state: Option<Storage>) -> anyhow::Result<(Client, Arc<TFullBackend<Block>>)> {
    let settings = DatabaseSettings {
        trie_cache_maximum_size: Some(TRIE_CACHE),
        state_pruning: Some(PruningMode::blocks_pruning(256)),
        source: DatabaseSource::ParityDb { path: folder.join("db") },
        blocks_pruning: BlocksPruning::KeepFinalized,
        pruning_filters: Vec::new(),
        metrics_registry: None,
    };
    let backend = sc_service::new_db_backend::<Block>(settings)?;
    let executor = executor();
    let made_new = state.is_some();
    let genesis = sc_chain_spec::GenesisBlockBuilder::<Block, _, _>::new_with_storage(
        state.unwrap_or_default(),
        made_new,
        backend.clone(),
        executor.clone(),
    )?;
    let client = sc_service::new_client(
        backend.clone(),
        executor.clone(),
        genesis,
        None,
        None,
        ExecutionExtensions::new(None, Arc::new(executor)),
        Box::new(TaskExecutor::new()),
        None,
        None,
        ClientConfig::default(),
    )?;
    Ok((client, backend))
}

/// Makes the database and the block. Gives the seconds that it took to fill the block.
fn make(folder: &Path, scale: Scale) -> anyhow::Result<f64> {
    let (client, _backend) = client(folder, Some(state(scale.nodes)?))?;
    let genesis = client.info().genesis_hash;
    let reports = reports(&genesis.0, scale)?;
    let slot = PARAMETERS.block_millis;
    let now = 300_000_000 * slot;
    let pre_digest =
        PreDigest::SecondaryPlain(SecondaryPlainPreDigest { authority_index: 0, slot: (now / slot).into() });
    let digest = Digest { logs: vec![<DigestItem as CompatibleDigestItem>::babe_pre_digest(pre_digest)] };
    let started = Instant::now();
    let mut builder = BlockBuilderBuilder::new(&client)
        .on_parent_block(genesis)
        .with_parent_block_number(0)
        .with_inherent_digests(digest)
        .build()?;
    let timestamp = pallet_timestamp::Call::<Runtime>::set { now };
    let timestamp = UncheckedExtrinsic::new_bare(timestamp.into());
    for transaction in std::iter::once(timestamp).chain(reports) {
        builder.push(OpaqueExtrinsic::try_from_encoded_extrinsic(&transaction.encode())?)?;
    }
    let block = builder.build()?.block;
    let built = started.elapsed().as_secs_f64();
    fs::write(folder.join("block"), block.encode())?;
    Ok(built)
}

/// Reports of nodes spread over all, each on a machine of its own.
fn reports(genesis: &Hash, scale: Scale) -> anyhow::Result<Vec<UncheckedExtrinsic>> {
    let (answering, silent): (Vec<u32>, Vec<u32>) = (0..scale.nodes).partition(|node| seed(*node).is_some());
    let answering = answering.into_iter().step_by(7).take(usize::try_from(scale.reports / ANSWERS)?);
    let silent = silent.into_iter().step_by(31).take(usize::try_from(scale.reports - scale.reports / ANSWERS)?);
    let mut nodes: Vec<u32> = answering.chain(silent).collect();
    nodes.sort_by_key(|node| h(&[&node.to_le_bytes()]));
    ensure!(nodes.len() == usize::try_from(scale.reports)?, "too few nodes are drawn");
    let report = |node: u32| {
        let enclave = enclave(node);
        let statement = Report {
            prev: first_root(&enclave.public().0),
            root: h(&[b"root", &node.to_le_bytes()]),
            slot: SLOT,
            slot_hash: *genesis,
            filler_bytes: 1 << 40,
            stored_bytes: SIZE,
            good_filler: 255,
            good_files: 255,
            scrubbed_until: SLOT,
            audit: answer_of(node)?.map(|(_, answer)| answer),
        };
        let signature = sign(genesis, &enclave, &statement);
        Ok(said(pallet_mpow::Call::report { node, statement, signature }))
    };
    nodes.into_iter().map(report).collect()
}

/// How a block is imported.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub enum How {
    /// As the node does it.
    Prefetched,
    /// By the client alone: execution asks for one key after the other.
    OneByOne,
}

/// What the import of a block took.
#[derive(Serialize, Deserialize)]
pub struct Import {
    /// From the call to the commit.
    pub seconds: f64,
    /// Of these.
    pub on_processor: f64,
    /// Bytes that came from the disk.
    pub from_disk: f64,
}

/// Imports the block; the client's wasm is compiled before.
pub fn import(folder: &Path, how: How) -> anyhow::Result<Import> {
    let (client, backend) = client(folder, None)?;
    let client = Arc::new(client);
    let genesis = client.info().genesis_hash;
    ensure!(client.info().best_number == 0, "the block is imported already");
    // A first call has the wasm compiled.
    client.runtime_api().version(genesis)?;
    let block = block(folder)?;
    let (hash, body) = (block.header.hash(), block.body.clone());
    let prefetching = Prefetch::new(client.clone(), client.clone(), backend);
    let (started, on_processor_before, from_disk_before) = (Instant::now(), on_processor()?, from_disk()?);
    let result = futures::executor::block_on(match how {
        How::Prefetched => prefetching.import_block(block),
        How::OneByOne => client.import_block(block),
    })?;
    let took = Import {
        seconds: started.elapsed().as_secs_f64(),
        on_processor: on_processor()? - on_processor_before,
        from_disk: from_disk()? - from_disk_before,
    };
    ensure!(matches!(result, ImportResult::Imported(_)), "not imported: {result:?}");
    ensure!(client.info().best_hash == hash, "another block is the best");
    ensure!(client.block_body(hash)? == body, "another body is stored");
    Ok(took)
}

/// The block, as it comes from the network.
fn block(folder: &Path) -> anyhow::Result<BlockImportParams<Block>> {
    let Block { header, extrinsics } = Block::decode(&mut &*fs::read(folder.join("block"))?)?;
    let mut params = BlockImportParams::new(BlockOrigin::NetworkBroadcast, header);
    params.body = Some(extrinsics);
    params.state_action = StateAction::Execute;
    params.fork_choice = Some(ForkChoiceStrategy::LongestChain);
    Ok(params)
}

/// What was measured: seconds to fill the block, its import with cold and with warm files, and bytes.
pub struct Measured {
    pub built: f64,
    pub cold: Import,
    /// Cold, and without [`Prefetch`].
    pub one_by_one: Import,
    pub warm: Import,
    pub block_bytes: u64,
    pub database_bytes: u64,
}

/// Makes the database once and imports the block three times, each time into the database as it was and in a process of
/// one core: over files that the kernel does not know any more, the same without what the node reads ahead, and over files
/// that the kernel has.
pub fn measure(folder: &Path) -> anyhow::Result<Measured> {
    fs::create_dir_all(folder)?;
    let built = make(folder, FULL)?;
    // Opened once more, the database has written out all that it had queued.
    drop(client(folder, None)?);
    let (database, before) = (folder.join("db"), folder.join("before"));
    fs::rename(&database, &before)?;
    let import = |how: How, cold: bool| -> anyhow::Result<Import> {
        copy(&before, &database)?;
        if cold {
            drop_from_cache(&database)?;
        }
        let import = import_on_one_core(folder, how)?;
        fs::remove_dir_all(&database)?;
        Ok(import)
    };
    let cold = import(How::Prefetched, true)?;
    let one_by_one = import(How::OneByOne, true)?;
    let warm = import(How::Prefetched, false)?;
    let lengths = files(&before)?.into_iter().map(|file| Ok(fs::metadata(file)?.len()));
    let database_bytes = lengths.sum::<anyhow::Result<u64>>()?;
    let block_bytes = fs::metadata(folder.join("block"))?.len();
    Ok(Measured { built, cold, one_by_one, warm, block_bytes, database_bytes })
}

fn import_on_one_core(folder: &Path, how: How) -> anyhow::Result<Import> {
    let program = std::env::current_exe()?;
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program).arg("import").arg(folder).arg(serde_json::to_string(&how)?);
    let done = command.output()?;
    ensure!(done.status.success(), "the import failed: {}", String::from_utf8_lossy(&done.stderr));
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// Bytes that the kernel has read from a disk for this process.
fn from_disk() -> anyhow::Result<f64> {
    let counts = fs::read_to_string("/proc/self/io")?;
    let read = counts.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    Ok(read.context("no bytes read in /proc/self/io")?.parse()?)
}

/// Seconds that this process has had of a processor.
fn on_processor() -> anyhow::Result<f64> {
    /// Of the kernel's clock.
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    // User and system time are the 14th and 15th field, the name being the second.
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS_A_SECOND)
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for file in files(from)? {
        let place = to.join(file.strip_prefix(from)?);
        fs::create_dir_all(place.parent().context("a file without a folder")?)?;
        fs::copy(&file, place)?;
    }
    Ok(())
}

/// Has the kernel forget these files, and makes sure that it has.
fn drop_from_cache(folder: &Path) -> anyhow::Result<()> {
    let files = files(folder)?;
    for file in &files {
        let mut of = std::ffi::OsString::from("of=");
        of.push(file);
        let flags = ["oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none"];
        let done = Command::new("dd").arg("if=/dev/null").arg(of).args(flags).status()?;
        ensure!(done.success(), "dd cannot drop {} from the cache", file.display());
    }
    let listed =
        Command::new("fincore").args(["--bytes", "--raw", "--noheadings", "--output", "RES"]).args(&files).output()?;
    ensure!(listed.status.success(), "fincore: {}", String::from_utf8_lossy(&listed.stderr));
    let resident: f64 =
        String::from_utf8(listed.stdout)?.lines().filter_map(|line| line.trim().parse::<f64>().ok()).sum();
    let all: u64 = files.iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum();
    let part = resident / all as f64;
    ensure!(part < COLD, "the kernel still has {:.1} % of the files", part * 100.0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_body_that_a_header_names_is_read_ahead() -> anyhow::Result<()> {
        const FEW: Scale = Scale { nodes: 2_000, reports: 48 };
        let folder = std::env::temp_dir().join(format!("crust-prefetch-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        make(&folder, FEW)?;
        let (client, backend) = client(&folder, None)?;
        let client = Arc::new(client);
        let importer = Prefetch::new(client.clone(), client.clone(), backend);
        // Of each node its record, its account and its machine.
        assert_eq!(importer.prefetch(&block(&folder)?), 3 * 48);

        // Whoever serves the block leaves out one of its reports, or says one twice.
        let other = |change: fn(&mut Vec<_>)| -> anyhow::Result<_> {
            let mut forged = block(&folder)?;
            forged.body.as_mut().map(change);
            Ok(forged)
        };
        let forgeries: [fn(&mut Vec<_>); 2] = [|body| drop(body.pop()), |body| body.extend(body.last().cloned())];
        for change in forgeries {
            assert_eq!(importer.prefetch(&other(change)?), 0);
            assert!(futures::executor::block_on(importer.import_block(other(change)?)).is_err());
        }
        let mut unknown = block(&folder)?;
        unknown.header.parent_hash = Default::default();
        let mut unexecuted = block(&folder)?;
        unexecuted.state_action = StateAction::Skip;
        for nothing in [unknown, unexecuted] {
            assert_eq!(importer.prefetch(&nothing), 0);
        }

        let imported = futures::executor::block_on(importer.import_block(block(&folder)?))?;
        assert!(matches!(imported, ImportResult::Imported(_)));
        Ok(fs::remove_dir_all(folder)?)
    }
}
