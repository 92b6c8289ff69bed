//! The daemon's client, log and filler against a real enclave behind a real socket: what happens when the enclave or
//! the daemon is replaced, and when somebody else could have opened the socket.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs, io,
    net::Shutdown,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crust_enclave::{
    Constants,
    rpc::{About, PROTOCOL, Request, Response, Sample, Saying, Stretch},
    server::{self, Server},
    tree,
};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_network::Blocks;
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::Content,
    statement::good,
};
use crust_storage_node::{
    config::Config,
    enclave_client::{Connection, Enclave, Error},
    reading, reconcile, sampling,
    store::{
        Store,
        disks::Disk,
        filler::Filler,
        index::{Record, State},
        log::Log,
        sealed::{self, Writer},
    },
    trees,
    workers::{
        Board,
        seal::{Failure, commit},
        serve::Serve,
    },
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

const GENESIS: [u8; 32] = [1; 32];
const PROVIDER: [u8; 32] = [2; 32];
const MIB: u64 = 1 << 20;

/// An enclave process, as far as its socket shows.
struct Process {
    streams: Arc<Mutex<Vec<UnixStream>>>,
    dead: Arc<AtomicBool>,
    socket: std::path::PathBuf,
}

impl Process {
    /// Starts one on the machine whose seed lies in `dir`.
    fn start(dir: &Path) -> Process {
        let platform = SoftwarePlatform::open(&dir.join("platform")).unwrap();
        let about =
            About { protocol: PROTOCOL, release: 1, measurement: [0; 32], development: true, commit: "test".into() };
        let server = Server::new(about, crust_enclave::Enclave::new(Arc::new(platform), Constants::DEVELOPMENT));
        let socket = dir.join("enclave.sock");
        let listener: UnixListener = server::bind(&socket).unwrap();
        let (streams, dead) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let process = Process { streams: streams.clone(), dead: dead.clone(), socket };
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                if dead.load(Ordering::SeqCst) {
                    return;
                }
                streams.lock().unwrap().push(stream.try_clone().unwrap());
                let server = server.clone();
                std::thread::spawn(move || server.serve(&mut stream));
            }
        });
        process
    }

    /// Ends it as a kill would: every connection breaks at once.
    fn kill(self) {
        self.dead.store(true, Ordering::SeqCst);
        UnixStream::connect(&self.socket).ok();
        for stream in self.streams.lock().unwrap().iter() {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

fn daemon(dir: &Path, known: Option<([u8; 32], [u8; 32])>) -> (Store, Enclave) {
    daemon_with(dir, "", known)
}

/// With more in its configuration.
fn daemon_with(dir: &Path, more: &str, known: Option<([u8; 32], [u8; 32])>) -> (Store, Enclave) {
    let path = dir.join("storage.toml");
    fs::write(&path, [include_str!("storage.toml"), more].concat()).unwrap();
    let config = Config::load(&path).unwrap();
    let (store, log) = Store::open(&config).unwrap();
    (store, Enclave::new(&config.enclave, GENESIS, PROVIDER, known, log))
}

fn filler(store: &Store) -> Arc<Filler> {
    store.fillers().remove(0).1
}

async fn grow(filler: &Filler, enclave: &Enclave, target: u64) {
    while filler.grow(enclave, target).await.unwrap() {}
    assert_eq!(filler.length(), target);
}

async fn state(enclave: &Enclave) -> crust_enclave::rpc::State {
    match enclave.ask(Request::State).await.unwrap() {
        Response::State(state) => state,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_replaced_enclave_takes_up_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let (store, enclave) = daemon(dir.path(), None);
    let identity = enclave.open().await.unwrap();
    let filler = filler(&store);
    grow(&filler, &enclave, 20 * MIB).await;
    // A unit in work when the enclave dies is thrown away; what was committed stays.
    assert!(filler.grow(&enclave, 30 * MIB).await.unwrap());
    let root = state(&enclave).await.root;
    process.kill();
    assert!(matches!(enclave.ask(Request::State).await, Err(Error::Down { .. })));
    let _process = Process::start(dir.path());
    filler.align(&enclave).await.unwrap();
    assert_eq!((filler.length(), filler.on_disk().unwrap()), (20 * MIB, 20 * MIB));
    assert_eq!(enclave.session(), 2);
    assert_eq!(enclave.open().await.unwrap().sign_pk, identity.sign_pk);
    assert_eq!(state(&enclave).await.root, root);
    grow(&filler, &enclave, 30 * MIB).await;
}

#[tokio::test]
async fn a_replaced_daemon_goes_on_with_the_same_enclave() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let (store, enclave) = daemon(dir.path(), None);
    let identity = enclave.open().await.unwrap();
    grow(&filler(&store), &enclave, 5 * MIB).await;
    let root = state(&enclave).await.root;
    drop((store, enclave));
    let (store, enclave) = daemon(dir.path(), Some((identity.sign_pk, identity.channel_pk)));
    let again = enclave.open().await.unwrap();
    assert_eq!((again.sign_pk, again.channel_pk), (identity.sign_pk, identity.channel_pk));
    assert_eq!(state(&enclave).await.root, root);
    filler(&store).align(&enclave).await.unwrap();
    assert_eq!(filler(&store).length(), 5 * MIB);
}

/// The log is durable before the answer is acted on: an enclave that reads the log again has all that it has said.
#[tokio::test]
async fn what_was_said_is_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let (_store, enclave) = daemon(dir.path(), None);
    enclave.open().await.unwrap();
    let prev = crust_protocol::statement::first_root(&enclave.identity().unwrap().sign_pk);
    let mut exclusive = enclave.exclusive().await;
    exclusive.change(Request::Show { slot: 1, slot_hash: [9; 32] }).await.unwrap();
    exclusive.change(Request::Samples { bytes: Vec::new() }).await.unwrap();
    drop(exclusive);
    let request = Request::Sign { statement: Saying::Report { prev, slot: 1, audit: None } };
    let Response::Signed { statement: crust_enclave::rpc::Signed::Report(report), .. } =
        enclave.change(request).await.unwrap()
    else {
        panic!("no report");
    };
    process.kill();
    let _process = Process::start(dir.path());
    let mut released = enclave.ask(Request::Release { root: report.root }).await;
    if matches!(released, Err(Error::Down { .. })) {
        // Asked over a connection of which it was not known yet that it had ended.
        released = enclave.ask(Request::Release { root: report.root }).await;
    }
    let released = released.unwrap();
    assert!(matches!(released, Response::Signature { .. }));
}

/// A unit that an earlier daemon left in work is thrown away with its bytes: what counts is on the disk.
#[tokio::test]
async fn a_unit_left_in_work_is_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let (store, enclave) = daemon(dir.path(), None);
    let identity = enclave.open().await.unwrap();
    grow(&filler(&store), &enclave, 4 * MIB).await;
    // Killed in the middle of a unit; the enclave's process lives on.
    assert!(filler(&store).grow(&enclave, 12 * MIB).await.unwrap());
    assert_eq!((filler(&store).length(), state(&enclave).await.filler.first().unwrap().1), (12 * MIB, 4 * MIB));
    drop((store, enclave));
    let (store, enclave) = daemon(dir.path(), Some((identity.sign_pk, identity.channel_pk)));
    grow(&filler(&store), &enclave, 20 * MIB).await;
    assert_eq!(good_filler(&store, &enclave, 1).await, 255);
    // A write that fails ends the unit as well.
    let path = filler(&store).path();
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(filler(&store).grow(&enclave, 30 * MIB).await.is_err());
    fs::remove_dir(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    grow(&filler(&store), &enclave, 30 * MIB).await;
    assert_eq!(good_filler(&store, &enclave, 2).await, 255);
}

/// A cut that fails is done with the next: what the enclave counts no more does not stay on the disk.
#[tokio::test]
async fn filler_that_could_not_be_cut_is_cut_later() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let (store, enclave) = daemon(dir.path(), None);
    enclave.open().await.unwrap();
    let filler = filler(&store);
    grow(&filler, &enclave, 20 * MIB).await;
    let path = filler.path();
    let aside = path.with_extension("aside");
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(filler.shrink(&enclave, 12 * MIB).await.is_err());
    assert_eq!(state(&enclave).await.filler.first().unwrap().1, 12 * MIB);
    fs::remove_dir(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    filler.shrink(&enclave, 12 * MIB).await.unwrap();
    assert_eq!((filler.length(), filler.on_disk().unwrap()), (12 * MIB, 12 * MIB));
    grow(&filler, &enclave, 16 * MIB).await;
    assert_eq!(good_filler(&store, &enclave, 1).await, 255);
}

/// What a check of the filler that is on the disk finds.
async fn good_filler(store: &Store, enclave: &Enclave, slot: u32) -> u8 {
    let mut exclusive = enclave.exclusive().await;
    let shown = exclusive.change(Request::Show { slot, slot_hash: [9; 32] }).await.unwrap();
    let Response::Shown { draw, .. } = shown else { panic!("{shown:?}") };
    let path = filler(store).path();
    let read = |sample: &Sample| match sample {
        Sample::Filler { page, .. } => Filler::page(&path, *page).ok(),
        Sample::File { .. } | Sample::Tree { .. } => None,
    };
    let bytes = draw.iter().map(read).collect();
    let checked = exclusive.change(Request::Samples { bytes }).await.unwrap();
    let Response::Checked { result: Some(result), .. } = checked else { panic!("{checked:?}") };
    result.good_filler
}

/// Requests and answers that are larger than a socket's buffers cross: neither side waits for the other to read first.
#[tokio::test]
async fn a_request_goes_ahead_of_the_answer_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let (_store, enclave) = daemon(dir.path(), None);
    enclave.open().await.unwrap();
    let mut connection = enclave.connection().await.unwrap();
    let block = vec![7; 2 << 20];
    let content = Content {
        client: [3; 32],
        nonce: 1,
        cid: Cid::of(Codec::Raw, HashFunction::Blake3, &block),
        size: block.len() as u64,
        audit_root: HashFunction::Blake3.digest(&block),
        flags: 0,
    };
    let mut answers = Vec::new();
    answers.extend(connection.ask_ahead(Request::SealBegin { content }).await.unwrap());
    assert!(answers.is_empty() && connection.ask(Request::State).await.is_err(), "an answer is still to come");
    answers.extend(connection.ask_ahead(Request::SealBlock { bytes: block }).await.unwrap());
    answers.extend(connection.ask_ahead(Request::Filler { disk: [1; 16], bytes: 4 << 20 }).await.unwrap());
    answers.extend(connection.ask_ahead(Request::SealBlock { bytes: vec![1; 2 << 20] }).await.unwrap());
    let refused = connection.ask_ahead(Request::SealEnd).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "the fourth: no such block belongs to the file");
    answers.extend(connection.last_answer().await.unwrap());
    assert_eq!(connection.last_answer().await.unwrap(), None);
    let lengths: Vec<(usize, usize)> = answers
        .iter()
        .map(|answer| match answer {
            Response::SealOut { sealed, tree } => (sealed.len(), tree.len()),
            Response::FillerOut { bytes } => (bytes.len(), 0),
            _ => (0, 0),
        })
        .collect();
    let sealed = (2 << 20) + 32 * 16;
    assert_eq!(lengths, [(0, 0), (sealed, 0), (4 << 20, 0), (0, 128 * 32 + 16)]);
    assert!(connection.ask(Request::State).await.is_ok());
}

/// Idle space is one file a disk, whatever its size, and gives way to user data by itself.
#[tokio::test]
async fn lesson_10_one_filler_file_per_disk() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let (store, enclave) = daemon(dir.path(), None);
    enclave.open().await.unwrap();
    let filler = filler(&store);
    let disk = store.disks().remove(0);
    let target = store.filler_target(&disk.id);
    grow(&filler, &enclave, target).await;
    let mut names: Vec<_> =
        fs::read_dir(&disk.path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["crust-disk", "filler"]);
    // An order is promised its space at once, and filler gives way as its bytes arrive.
    let order = [7; 32];
    assert!(store.promise(&order, &disk.id, 100 * MIB));
    assert_eq!(filler.length(), target);
    store.grant(&order, &disk.id, (40 * MIB, 40 * MIB), &enclave).await.unwrap();
    assert!(filler.length() <= target - 40 * MIB);
    assert_eq!(filler.on_disk().unwrap(), filler.length());
    assert_eq!(state(&enclave).await.filler.first().unwrap().1, filler.length());
    store.release(&order);
    assert_eq!(store.filler_target(&disk.id), target);
}

/// Who may speak to the enclave can open every file: the socket is for the daemon's user alone.
#[tokio::test]
async fn lesson_11_a_socket_open_to_others_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let (_store, enclave) = daemon(dir.path(), None);
    let socket = dir.path().join("enclave.sock");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    mode(dir.path(), 0o755);
    mode(&socket, 0o666);
    let error = enclave.open().await.unwrap_err();
    assert!(matches!(error, Error::Exposed { .. }), "{error}");
    mode(&socket, 0o600);
    enclave.open().await.unwrap();
}

/// A log of another enclave, or of another provider, is no log of this node's.
#[tokio::test]
async fn the_log_of_another_machine_is_refused() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let process = Process::start(dir.path());
    let (store, enclave) = daemon(dir.path(), None);
    enclave.open().await.unwrap();
    drop((store, enclave));
    process.kill();
    let _process = Process::start(other.path());
    fs::create_dir_all(other.path().join("state")).unwrap();
    fs::copy(dir.path().join("state/enclave.log"), other.path().join("state/enclave.log")).unwrap();
    let (_store, enclave) = daemon(other.path(), None);
    assert!(matches!(enclave.open().await, Err(Error::Refused(_))));
    assert!(!Log::open(other.path().join("state/enclave.log"), None).unwrap().is_empty());
}

/// Seals a file of 8 bytes, as the daemon does; its content, and the connection on which it is to be committed.
async fn seal_whole(enclave: &Enclave, nonce: u64) -> (Content, Connection) {
    let bytes = nonce.to_le_bytes();
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, &bytes);
    let audit_root = *blake3::hash(&bytes).as_bytes();
    let content = Content { client: [3; 32], nonce, cid, size: 8, audit_root, flags: 0 };
    let mut connection = enclave.connection().await.unwrap();
    connection.ask(Request::SealBegin { content: content.clone() }).await.unwrap();
    connection.ask(Request::SealBlock { bytes: bytes.to_vec() }).await.unwrap();
    connection.ask(Request::SealEnd).await.unwrap();
    (content, connection)
}

async fn seal_number(enclave: &Enclave, nonce: u64, disk: [u8; 16]) -> Content {
    let (content, mut connection) = seal_whole(enclave, nonce).await;
    enclave.exclusive().await.change_on(&mut connection, Request::SealCommit { disk }).await.unwrap();
    content
}

/// An order that is forgotten while its file is being sealed is not held in the end; one that is held is not forgotten.
#[tokio::test]
async fn a_file_is_held_and_the_index_says_so_or_neither() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let (store, enclave) = daemon(dir.path(), None);
    enclave.open().await.unwrap();
    let disk = store.disks()[0].id;
    let mut records = Vec::new();
    for nonce in 0..3 {
        let (content, connection) = seal_whole(&enclave, nonce).await;
        let mut record = Record::new(content, State::Taken);
        record.disk = Some(disk);
        store.index.put(std::slice::from_ref(&record)).unwrap();
        records.push((record, connection));
    }
    let committed = |(record, connection)| {
        let (store, enclave) = (&store, &enclave);
        async move { commit(store, enclave, &record, connection).await }
    };
    let known = |record: &Record| store.index.order(&record.content.id()).unwrap().map(|record| record.state);
    let mut records = records.into_iter();
    let (refused, forgotten, held) = (records.next().unwrap(), records.next().unwrap(), records.next().unwrap());
    assert!(store.index.refuse(&refused.0.content.id()).unwrap().is_some());
    assert!(matches!(committed(refused).await, Err(Failure::Ended)));
    store.index.forget(&[forgotten.0.content.id()]).unwrap();
    assert!(matches!(committed(forgotten).await, Err(Failure::Ended)));
    assert_eq!((state(&enclave).await.files, store.usage()[0].files), (0, 0));
    let record = held.0.clone();
    committed(held).await.unwrap();
    assert_eq!((state(&enclave).await.files, store.usage()[0].files), (1, 1));
    assert_eq!(store.index.refuse(&record.content.id()).unwrap(), None);
    assert_eq!(known(&record), Some(State::Sealed));
}

/// The log begins anew while both run; a new enclave and a new daemon go on from the snapshot and what follows it.
#[tokio::test]
async fn a_log_that_began_anew_is_taken_up_by_enclave_and_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let (store, enclave) = daemon(dir.path(), None);
    let identity = enclave.open().await.unwrap();
    let disk = store.disks()[0].id;
    for nonce in 0..20 {
        seal_number(&enclave, nonce, disk).await;
    }
    let before = enclave.log().borrow().overview.clone();
    enclave.take_snapshot().await.unwrap();
    let after = enclave.log().borrow().overview.clone();
    let snapshot = after.snapshot.unwrap();
    assert!(before.snapshot.is_none() && after.bytes < before.bytes && snapshot.record == 21, "{snapshot:?}");
    assert_eq!(snapshot.root, state(&enclave).await.root);
    seal_number(&enclave, 20, disk).await;
    let root = state(&enclave).await.root;
    // The daemon is replaced: it knows the root of its log without asking.
    drop((store, enclave));
    let (store, enclave) = daemon(dir.path(), Some((identity.sign_pk, identity.channel_pk)));
    assert_eq!(enclave.open().await.unwrap().sign_pk, identity.sign_pk);
    // The enclave is replaced: it loads the log.
    process.kill();
    assert!(matches!(enclave.ask(Request::State).await, Err(Error::Down { .. })));
    let _process = Process::start(dir.path());
    enclave.open().await.unwrap();
    assert_eq!(state(&enclave).await, crust_enclave::rpc::State { root, files: 21, ..state(&enclave).await });
    // And once more, over the snapshot of a snapshot.
    enclave.take_snapshot().await.unwrap();
    seal_number(&enclave, 21, disk).await;
    assert_eq!(state(&enclave).await.files, 22);
    drop(store);
}

/// The enclave's log is right: what it has is sealed, what it has not is fetched again, what nobody knows is found.
#[tokio::test]
async fn the_index_is_brought_to_what_the_log_says() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let (store, enclave) = daemon(dir.path(), None);
    enclave.open().await.unwrap();
    let disk = store.disks()[0].id;
    let mut held = Vec::new();
    for nonce in 0..3 {
        held.push(seal_number(&enclave, nonce, disk).await);
    }
    let other = |nonce| Content { nonce, ..held[0].clone() };
    let put = |content: &Content, state| {
        let mut record = Record::new(content.clone(), state);
        record.disk = Some(disk);
        store.index.put(&[record]).unwrap();
    };
    put(&held[0], State::Taken);
    put(&held[1], State::Held);
    for (nonce, state) in [(100, State::Sealed), (101, State::Held), (102, State::Taken), (103, State::Waiting)] {
        put(&other(nonce), state);
    }
    reconcile::run(&store, &enclave).await.unwrap();
    let state = |content: &Content| store.index.order(&content.id()).unwrap().unwrap().state;
    assert_eq!([state(&held[0]), state(&held[1])], [State::Sealed, State::Held]);
    let others = [100, 101, 102, 103].map(|nonce| state(&other(nonce)));
    assert_eq!(others, [State::Taken, State::Held, State::Taken, State::Waiting]);
    assert!(store.index.order(&other(101).id()).unwrap().unwrap().note.is_some());
    assert_eq!(store.index.to_find(None, 10).unwrap(), [held[2].id()]);
    // Once is enough.
    reconcile::run(&store, &enclave).await.unwrap();
    assert_eq!([state(&held[0]), state(&other(100))], [State::Sealed, State::Taken]);
}

async fn seal(store: &Store, enclave: &Enclave, block: Vec<u8>) -> Record {
    seal_on(store, enclave, &store.disks().remove(0), block).await
}

/// Seals a block as the daemon does, with its tree and with parity, and takes it up as held.
async fn seal_on(store: &Store, enclave: &Enclave, disk: &Disk, block: Vec<u8>) -> Record {
    let content = Content {
        client: [3; 32],
        nonce: 1,
        cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, &block),
        size: block.len() as u64,
        audit_root: HashFunction::Blake3.digest(&block),
        flags: 0,
    };
    let (id, size) = (content.id(), content.size);
    let file = Writer::create(sealed::path(&disk.path, &id), Some(sealed::length(size))).await;
    let nodes = Writer::create(sealed::tree_path(&disk.path, &id), Some(tree::length(size))).await;
    let (mut file, mut nodes) = (file.unwrap(), nodes.unwrap());
    let (length, hash) = (u32::try_from(block.len()).unwrap(), content.cid.multihash());
    let mut connection = enclave.connection().await.unwrap();
    connection.ask(Request::SealBegin { content: content.clone() }).await.unwrap();
    for request in [Request::SealBlock { bytes: block }, Request::SealEnd] {
        let answer = connection.ask(request).await.unwrap();
        let Response::SealOut { sealed, tree } = answer else { panic!("{answer:?}") };
        file.append(sealed).await.unwrap();
        nodes.append(tree).await.unwrap();
    }
    nodes.finish().await.unwrap();
    file.finish().await.unwrap();
    let commit = Request::SealCommit { disk: disk.id };
    enclave.exclusive().await.change_on(&mut connection, commit).await.unwrap();
    let mut record = Record::new(content, State::Held);
    record.disk = Some(disk.id);
    store.index.put(std::slice::from_ref(&record)).unwrap();
    store.index.add_blocks(&id, &[(hash, 0, length)]).unwrap();
    record
}

/// Reads all that is held, as the scrub does; what was bad.
async fn scrub(store: &Arc<Store>, enclave: &Enclave) -> Vec<Sample> {
    let Response::ScrubNext(mut progress) = enclave.ask(Request::ScrubNext).await.unwrap() else { panic!() };
    let mut all = Vec::new();
    while let Some(stretch) = progress.next {
        let bytes = reading::stretch(store, stretch).await;
        let answer = enclave.change(Request::Scrub { stretch, bytes }).await.unwrap();
        let Response::Scrubbed { bad, next, .. } = answer else { panic!("{answer:?}") };
        all.extend(bad);
        progress.next = next;
    }
    all
}

fn serving(store: &Arc<Store>, enclave: &Enclave) -> Serve {
    Serve::new(store.clone(), enclave.clone(), Board::default())
}

async fn check(store: &Arc<Store>, enclave: &Enclave, slot: u32) -> (u8, u8) {
    let serve = serving(store, enclave);
    let checked = sampling::check(store, enclave, &serve, (slot, [9; 32]), std::time::Duration::ZERO).await.unwrap();
    (checked.result.good_filler, checked.result.good_files)
}

/// A hash tree that is damaged, its parity gone, is made anew out of the file: the file is whole and must not go with it.
#[tokio::test]
async fn a_damaged_hash_tree_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let (store, enclave) = daemon(dir.path(), None);
    let store = Arc::new(store);
    enclave.open().await.unwrap();
    let record = seal(&store, &enclave, vec![7; 300_000]).await;
    let order = record.content.id();
    assert_eq!(check(&store, &enclave, 1).await, (255, 255));
    let path = sealed::tree_path(&store.disks().remove(0).path, &order);
    fs::remove_file(path.with_extension("tree.parity")).unwrap();
    fs::write(&path, vec![1; fs::metadata(&path).unwrap().len() as usize]).unwrap();
    assert_eq!(scrub(&store, &enclave).await, [Sample::Tree { order, node: 0 }]);
    trees::make_anew(&store, &enclave, order).await.unwrap();
    assert_eq!(check(&store, &enclave, 2).await, (255, 255));
    assert!(scrub(&store, &enclave).await.is_empty());
    assert!(path.with_extension("tree.parity").exists());
}

/// Bad sectors are mended by the scrub, before a client or a draw meets them, and counted; without parity the scrub says
/// which file it is.
#[tokio::test]
async fn the_scrub_mends_a_flipped_bit_out_of_parity_and_names_the_file_without() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let (store, enclave) = daemon(dir.path(), None);
    let store = Arc::new(store);
    enclave.open().await.unwrap();
    let record = seal(&store, &enclave, (0..700_000_u32).map(|at| at as u8).collect()).await;
    let order = record.content.id();
    let path = sealed::path(&store.disks().remove(0).path, &order);
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[5 * sealed::STRIDE as usize + 777] ^= 4;

    assert_eq!(check(&store, &enclave, 1).await, (255, 255));
    let before = mended();
    fs::write(&path, &flipped).unwrap();
    assert_eq!(scrub(&store, &enclave).await, []);
    assert_eq!(mended() - before, 1);
    assert!(fs::read(&path).unwrap() == whole, "as it was");
    assert_eq!(check(&store, &enclave, 2).await, (255, 255));

    fs::remove_file(path.with_extension("parity")).unwrap();
    fs::write(&path, &flipped).unwrap();
    assert_eq!(scrub(&store, &enclave).await, [Sample::File { order, chunk: 5 }]);
    assert_eq!(mended() - before, 1);
    assert!(fs::read(&path).unwrap() == flipped);
}

/// Chunks that this process has mended, as its metrics say.
fn mended() -> u64 {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    let rendered = METRICS.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap()).render();
    let mut counts = rendered.lines().filter_map(|line| line.strip_prefix("crust_mended_chunks_total "));
    counts.next().map_or(0, |count| count.parse().unwrap())
}

/// A disk that answers reads with an error, as one with bad sectors does, and is there all the same: what lies on it is
/// bad, each sample of it and no other; the other disk is served, checked and filled as before.
#[tokio::test]
async fn a_disk_that_answers_with_errors_is_bad_and_the_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let other = "\n[[disks]]\npath = \"other\"\ncapacity = \"256MiB\"\n";
    let (store, enclave) = daemon_with(dir.path(), other, None);
    let store = Arc::new(store);
    enclave.open().await.unwrap();
    let mut disks = Vec::new();
    for (number, (disk, filler)) in (1..).zip(store.fillers()) {
        grow(&filler, &enclave, 20 * MIB).await;
        let block = (0..1 << 20).map(|at: u32| (at as u8) ^ number).collect();
        let record = seal_on(&store, &enclave, &disk, block).await;
        disks.push((disk, filler, record));
    }
    let [(broken, broken_filler, lost), (_, sound_filler, kept)] = &disks[..] else { panic!("two disks") };
    let order = lost.content.id();
    assert_eq!(check(&store, &enclave, 1).await, (255, 255));

    // Reads of a directory fail with an error of their own, not with "no such file".
    let places = [sealed::path(&broken.path, &order), broken_filler.path()];
    for place in &places {
        fs::rename(place, place.with_extension("aside")).unwrap();
        fs::create_dir(place).unwrap();
    }
    assert_eq!(Filler::page(&broken_filler.path(), 0).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    assert_eq!(sealed::read(&places[0], 0, 1).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(broken.present());
    let is_broken = |sample: &Sample| match sample {
        Sample::Filler { disk, .. } => *disk == broken.id,
        Sample::File { order: of, .. } | Sample::Tree { order: of, .. } => *of == order,
    };
    let found = scrub(&store, &enclave).await;
    assert!(found.iter().all(is_broken), "{found:?}");
    let of_filler = found.iter().filter(|sample| matches!(sample, Sample::Filler { .. })).count();
    // All pages, all chunks.
    assert_eq!((of_filler as u64, found.len() - of_filler), (20 * MIB / 4_096, 16));

    // The draw is the same when it is shown again, by the check.
    let shown = enclave.change(Request::Show { slot: 2, slot_hash: [9; 32] }).await.unwrap();
    let Response::Shown { draw, .. } = shown else { panic!("{shown:?}") };
    // What was found by the scrub is read again, after the samples of filler and those of files.
    let samples = Constants::DEVELOPMENT.samples;
    let count = |draw: &[Sample]| draw.iter().filter(|sample| is_broken(sample)).count() as u32;
    let (drawn, again) = draw.split_at(2 * samples as usize);
    let (filler, files) = drawn.split_at(samples as usize);
    assert!(again.iter().all(is_broken) && !again.is_empty(), "{again:?}");
    let expected = (good(count(filler), samples), good(count(files), samples));
    assert!(expected.0 < 255 && expected.1 < 255, "{expected:?}");
    assert_eq!(check(&store, &enclave, 2).await, expected);

    // The other disk goes on.
    let serve = serving(&store, &enclave);
    assert!(kept.content.cid.names(&serve.get(kept.content.cid).await.unwrap()));
    assert!(serve.get(lost.content.cid).await.is_none());
    grow(sound_filler, &enclave, 24 * MIB).await;
    assert!(broken_filler.grow(&enclave, 24 * MIB).await.is_err());
    assert_eq!(state(&enclave).await.files, 2, "nothing is given up");

    // Errors that pass are forgotten.
    for place in &places {
        fs::remove_dir(place).unwrap();
        fs::rename(place.with_extension("aside"), place).unwrap();
    }
    assert_eq!(check(&store, &enclave, 3).await, (255, 255));
    assert_eq!(scrub(&store, &enclave).await, []);
    assert!(lost.content.cid.names(&serve.get(lost.content.cid).await.unwrap()));
}

/// A check goes slowly while others are served, and no longer than there is time: what it finds is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_gives_way_and_comes_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let (store, enclave) = daemon(dir.path(), None);
    let store = Arc::new(store);
    enclave.open().await.unwrap();
    grow(&filler(&store), &enclave, 20 * MIB).await;
    let record = seal(&store, &enclave, (0..1 << 20).map(|at: u32| at as u8).collect()).await;
    let serve = serving(&store, &enclave);
    assert!(!serve.is_busy());
    let (cid, reader) = (record.content.cid, serve.clone());
    let stop = tokio_util::sync::CancellationToken::new();
    let reading = stop.clone();
    let served = tokio::spawn(async move {
        let mut blocks = 0_u32;
        while !reading.is_cancelled() {
            assert!(cid.names(&reader.get(cid).await.unwrap()));
            blocks += 1;
        }
        blocks
    });
    for (slot, patience) in [(1, 100), (2, 0), (3, 60_000)] {
        let patience = std::time::Duration::from_millis(patience);
        let checked = sampling::check(&store, &enclave, &serve, (slot, [9; 32]), patience).await.unwrap();
        let result = checked.result;
        assert_eq!((checked.samples, result.good_filler, result.good_files, result.slot), (512, 255, 255, slot));
    }
    stop.cancel();
    assert!(served.await.unwrap() > 0);
}

/// A file of which nothing is anywhere is bad like any other, and lost in the end; one that may lie on a disk that is not
/// there is waited for.
#[tokio::test]
async fn what_is_nowhere_is_told_from_what_is_out_of_reach() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _enclave) = daemon(dir.path(), None);
    let store = Arc::new(store);
    let stretch = Stretch::File { order: [5; 32], chunk: 0, chunks: 1 };
    assert_eq!(reading::stretch(&store, stretch).await, Some(Vec::new()));
    let disk = store.disks().remove(0);
    let filler = Stretch::Filler { disk: disk.id, page: 0, pages: 1 };
    assert_eq!(reading::stretch(&store, filler).await, Some(vec![0; 4_096]));
    fs::rename(&disk.path, dir.path().join("away")).unwrap();
    for stretch in [stretch, filler] {
        assert_eq!(reading::stretch(&store, stretch).await, None);
    }
}
