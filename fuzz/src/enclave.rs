//! What the host hands to its enclave: sealed chunks, the log, frames. Whatever it is, the enclave says no, or it goes
//! on with exactly what it once made.

use std::{
    io::{self, Cursor, Read, Write},
    sync::{Arc, Mutex, OnceLock},
};

use codec::{Decode, Encode};
use crust_enclave::{
    Constants, Enclave,
    rpc::{self, About, Request, Saying, Signed},
    seal::{CHUNK, Out, SEALED_CHUNK},
    server::Server,
};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_protocol::{
    Hash,
    file::{Cid, Codec, HashFunction},
    order::{Content, OrderId},
    statement::first_root,
};

const GENESIS: Hash = [2; 32];
const PROVIDER: Hash = [3; 32];
/// Two whole chunks and a short one.
const SIZE: usize = 2 * CHUNK + 777;

/// An enclave with a past.
struct World {
    enclave: Mutex<Enclave>,
    log: Vec<Vec<u8>>,
    /// The root after each item, from the second on.
    roots: Vec<Hash>,
    file: (OrderId, Vec<u8>, Vec<u8>),
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::make)
}

fn platform() -> Arc<SoftwarePlatform> {
    static PLATFORM: OnceLock<Arc<SoftwarePlatform>> = OnceLock::new();
    PLATFORM.get_or_init(|| Arc::new(SoftwarePlatform::from_seed([1; 32]).unwrap())).clone()
}

fn enclave() -> Enclave {
    Enclave::new(platform(), Constants::DEVELOPMENT)
}

fn content(nonce: u64, bytes: &[u8]) -> Content {
    Content {
        client: [1; 32],
        nonce,
        cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, bytes),
        size: bytes.len() as u64,
        audit_root: *blake3::hash(bytes).as_bytes(),
        flags: 0,
    }
}

impl World {
    /// Two files, of which one is deleted and named gone; a unit of filler; a slot checked and reported.
    fn make() -> World {
        let mut enclave = enclave();
        let opened = enclave.open(GENESIS, PROVIDER).unwrap();
        let mut log = opened.items;
        let (mut roots, mut prev) = (vec![enclave.overview().unwrap().root], first_root(&opened.sign_pk));
        let mut file = None;
        for (nonce, size) in [(1, SIZE), (2, 10)] {
            let plain: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let content = content(nonce, &plain);
            let (id, mut out) = (content.id(), Out::default());
            let mut sealer = enclave.seal(content).unwrap();
            sealer.feed(&plain, &mut out).unwrap();
            log.push(enclave.hold(&sealer.finish(&mut out).unwrap(), [5; 16]).unwrap());
            file.get_or_insert((id, plain, out.sealed));
            roots.push(enclave.overview().unwrap().root);
            let (item, said) = enclave.say(Saying::Receipts { prev, orders: vec![id] }).unwrap();
            let Signed::Receipts(said) = said else { panic!("no receipt") };
            prev = said.root;
            log.push(item);
            roots.push(prev);
            if nonce == 2 {
                log.push(enclave.delete(vec![id]).unwrap());
                roots.push(enclave.overview().unwrap().root);
                let (item, said) = enclave.say(Saying::Gone { prev, orders: vec![id] }).unwrap();
                let Signed::Gone(said) = said else { panic!("no gone") };
                prev = said.root;
                log.push(item);
                roots.push(prev);
            }
        }
        enclave.filler([5; 16], 4_096).unwrap();
        log.push(enclave.commit_filler([5; 16]).unwrap());
        roots.push(enclave.overview().unwrap().root);
        World { enclave: Mutex::new(enclave), log, roots, file: file.unwrap() }
    }
}

/// A chunk number and sealed bytes: what is opened is what was sealed.
pub fn sealed_chunk(bytes: &[u8]) {
    let Some((chunk, sealed)) = bytes.split_first() else { return };
    let (order, plain, _) = &world().file;
    let opener = world().enclave.lock().unwrap().opener(order, u64::from(*chunk));
    if let Ok(opened) = opener.and_then(|opener| opener.open(sealed.to_vec())) {
        let from = usize::from(*chunk) * CHUNK;
        assert!(opened == plain[from..from + opened.len()], "other bytes than were sealed");
    }
}

pub fn sealed_chunk_seeds() -> Vec<Vec<u8>> {
    let (_, _, sealed) = &world().file;
    let one = |chunk: u8, bytes: &[u8]| [&[chunk], bytes].concat();
    let mut seeds: Vec<Vec<u8>> = (0u8..).zip(sealed.chunks(SEALED_CHUNK)).map(|(at, bytes)| one(at, bytes)).collect();
    seeds.push(one(0, sealed));
    seeds
}

/// Items of a log: an enclave that opens stands where it once stood.
pub fn state_log(bytes: &[u8]) {
    let items = Vec::<Vec<u8>>::decode(&mut &bytes[..]).unwrap_or_else(|_| vec![bytes.to_vec()]);
    let mut enclave = enclave();
    // After an error the state is that before the item which it names.
    let _ = enclave.load(&items);
    let Ok(opened) = enclave.open(GENESIS, PROVIDER) else { return };
    // Nothing of the log was read: a new identity begins a log of its own.
    if !opened.items.is_empty() {
        return;
    }
    assert!(world().roots.contains(&opened.root), "a state in which it never was");
}

pub fn state_log_seeds() -> Vec<Vec<u8>> {
    let log = &world().log;
    (0..=log.len()).map(|length| log[..length].to_vec().encode()).collect()
}

/// A snapshot, alone and with the records that follow it.
pub fn snapshot_seeds() -> Vec<Vec<u8>> {
    let log = &world().log;
    let of = |length: usize| {
        let mut enclave = enclave();
        enclave.load(&log[..length]).unwrap();
        enclave.open(GENESIS, PROVIDER).unwrap();
        let part = enclave.snapshot(0).unwrap();
        assert_eq!(part.next, None);
        part.items
    };
    let followed = |length: usize| [of(length).as_slice(), &log[length..]].concat().encode();
    [2, log.len() / 2, log.len() - 1, log.len()].map(followed).to_vec()
}

/// Frames of a connection: each is answered or ends the connection.
pub fn rpc(bytes: &[u8]) {
    let about =
        About { protocol: rpc::PROTOCOL, release: 1, measurement: [0; 32], development: true, commit: String::new() };
    let mut stream = Stream { requests: Cursor::new(bytes), answers: 0 };
    // An error is how a connection ends.
    let _ = Server::new(about, enclave()).serve(&mut stream);
    // A request is a byte at least, and asks for at most 4 MiB of filler.
    assert!(stream.answers <= (bytes.len() / 5 + 1).saturating_mul(rpc::MAX_FRAME), "answers nobody asked for");
}

pub fn rpc_seeds() -> Vec<Vec<u8>> {
    let (order, _, sealed) = &world().file;
    let again = b"sealed again".to_vec();
    let requests = [
        Request::Hello,
        Request::Load { items: world().log.clone() },
        Request::Open { genesis: GENESIS, provider: PROVIDER },
        Request::State,
        Request::Files { after: None, limit: 10 },
        Request::Read { order: *order, chunk: 0, sealed: sealed.clone() },
        Request::SealBegin { content: content(9, &again) },
        Request::SealBlock { bytes: again },
        Request::SealEnd,
        Request::SealCommit { disk: [5; 16] },
        Request::Filler { disk: [6; 16], bytes: 8_192 },
        Request::FillerCommit { disk: [6; 16] },
        Request::Shrink { disk: [6; 16], to: 4_096 },
        Request::Show { slot: 7, slot_hash: [7; 32] },
        Request::Samples { bytes: vec![None; 512] },
        Request::Delete { orders: vec![*order] },
        Request::GoneDue { prev: world().roots[0], limit: 10 },
        Request::Sign { statement: Saying::Report { prev: world().roots[0], slot: 7, audit: None } },
        Request::Release { root: world().roots[1] },
        Request::Final { root: world().roots[1] },
        Request::AuditReads { order: *order, audited: 3 },
        Request::ScrubNext,
        Request::TreeBegin { order: *order },
        Request::TreeChunks { sealed: sealed.clone() },
        Request::Snapshot { from: 0 },
        Request::Challenge,
        Request::Ask { genesis: GENESIS, provider: PROVIDER, challenge: [4; 32] },
        Request::Follow { items: world().log.clone() },
        Request::Succeed,
    ];
    let frames: Vec<Vec<u8>> = requests.iter().map(|request| rpc::encode(request).unwrap()).collect();
    let mut seeds = vec![frames.concat()];
    // The log and one request, so that a change hits where it matters.
    let opening = frames[..3].concat();
    seeds.extend(frames[3..].iter().map(|frame| [opening.as_slice(), frame].concat()));
    seeds
}

/// A connection whose host has said all that it will say.
struct Stream<'a> {
    requests: Cursor<&'a [u8]>,
    answers: usize,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.requests.read(buffer)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.answers += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
