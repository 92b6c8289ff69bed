//! What arrives at the chain: evidence, collateral and statements. Bytes are one canonical value or none: what is read
//! is written again as the same bytes, so nobody can send one statement in two forms. Here evidence and collateral are
//! only read; whether a quote is genuine is judged by `crust-evidence`, which has its targets beside it, in
//! `chain/evidence/tests/fuzz.rs`.

use codec::{Decode, Encode, MaxEncodedLen};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_protocol::{
    attestation::{Collateral, Evidence},
    audit,
    quote::Quoted,
    statement::{Answer, Gone, Heir, Receipts, Report, Statement, signed_bytes},
};

/// A day inside the dates of the development collateral made for it.
const NOW: u64 = 1_800_000_000;

/// What a quote says stands at its begin, and nothing behind that changes it.
pub fn quote(bytes: &[u8]) {
    let Ok(quoted) = Quoted::read(bytes) else { return };
    let mut said = [48 + 384, 48 + 584].into_iter().filter_map(|length| bytes.get(..length));
    assert!(said.any(|said| Quoted::read(said).as_ref() == Ok(&quoted)), "it says something else");
}

pub fn quote_seeds() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("../../chain/evidence/tests/data/sgx_quote").to_vec(),
        include_bytes!("../../chain/evidence/tests/data/tdx_quote").to_vec(),
        platform().quote(&[7; 64]),
    ]
}

pub fn evidence(bytes: &[u8]) {
    canonical::<Evidence>(bytes);
}

pub fn evidence_seeds() -> Vec<Vec<u8>> {
    let quote = platform().quote(&[7; 64]);
    vec![Evidence::Dcap(quote.try_into().unwrap()).encode()]
}

pub fn collateral(bytes: &[u8]) {
    canonical::<Collateral>(bytes);
}

pub fn collateral_seeds() -> Vec<Vec<u8>> {
    vec![platform().collateral(NOW).unwrap().encode()]
}

pub fn receipts(bytes: &[u8]) {
    statement::<Receipts>(bytes);
}

pub fn receipts_seeds() -> Vec<Vec<u8>> {
    let of = |count: u8| (0..count).map(|order| [order; 32]).collect::<Vec<_>>().try_into().unwrap();
    [1, 64].map(|count| Receipts { prev: [1; 32], root: [2; 32], orders: of(count) }.encode()).to_vec()
}

pub fn gone(bytes: &[u8]) {
    statement::<Gone>(bytes);
}

pub fn gone_seeds() -> Vec<Vec<u8>> {
    let of = |count: u8| (0..=count).map(|order| [order; 32]).collect::<Vec<_>>().try_into().unwrap();
    [0, 255].map(|count| Gone { prev: [1; 32], root: [2; 32], orders: of(count) }.encode()).to_vec()
}

pub fn heir(bytes: &[u8]) {
    statement::<Heir>(bytes);
}

pub fn heir_seeds() -> Vec<Vec<u8>> {
    vec![Heir { prev: [1; 32], root: [2; 32], heir: [3; 32] }.encode()]
}

pub fn report(bytes: &[u8]) {
    statement::<Report>(bytes);
}

pub fn report_seeds() -> Vec<Vec<u8>> {
    let plain = Report {
        prev: [1; 32],
        root: [2; 32],
        slot: 3,
        slot_hash: [4; 32],
        filler_bytes: 5 << 30,
        stored_bytes: 6 << 20,
        good_filler: 255,
        good_files: 254,
        scrubbed_until: 2,
        audit: None,
    };
    let answer = Answer { bytes: vec![8; 1_024].try_into().unwrap(), path: vec![[9; 32]; 20].try_into().unwrap() };
    vec![plain.encode(), Report { audit: Some(answer), ..plain }.encode()]
}

/// A chunk's number and an answer: what verifies is what the client committed to.
pub fn answer(bytes: &[u8]) {
    let Some((chunk, bytes)) = bytes.split_first() else { return };
    let Some(answer) = canonical::<Answer>(bytes) else { return };
    let (chunk, stream) = (u64::from(*chunk), stream());
    let size = stream.len() as u64;
    if audit::verify(blake3::hash(&stream).as_bytes(), size, chunk, &answer) {
        assert_eq!(answer.bytes.as_slice(), part(&stream, chunk, 1), "other bytes than were committed to");
    }
}

pub fn answer_seeds() -> Vec<Vec<u8>> {
    let stream = stream();
    let one = |chunk: u64| {
        let siblings = audit::siblings(stream.len() as u64, chunk);
        let hash = |it: &audit::Subtree| audit::subtree(it.first, part(&stream, it.first, it.chunks));
        let path: Vec<_> = siblings.iter().map(hash).collect();
        let answer =
            Answer { bytes: part(&stream, chunk, 1).to_vec().try_into().unwrap(), path: path.try_into().unwrap() };
        assert!(audit::verify(blake3::hash(&stream).as_bytes(), stream.len() as u64, chunk, &answer));
        (chunk as u8, answer).encode()
    };
    (0..audit::chunks(stream.len() as u64)).map(one).collect()
}

/// Eleven chunks, the last of them short.
fn stream() -> Vec<u8> {
    (0..10 * audit::CHUNK + 77).map(|at| (at % 253) as u8).collect()
}

fn part(stream: &[u8], first: u64, chunks: u64) -> &[u8] {
    let from = (first * audit::CHUNK) as usize;
    &stream[from..stream.len().min(from + (chunks * audit::CHUNK) as usize)]
}

fn platform() -> SoftwarePlatform {
    SoftwarePlatform::from_seed([1; 32]).unwrap()
}

fn canonical<T: Decode + Encode + MaxEncodedLen>(bytes: &[u8]) -> Option<T> {
    let mut rest = bytes;
    let value = T::decode(&mut rest).ok()?;
    let (read, _) = bytes.split_at(bytes.len() - rest.len());
    assert_eq!(value.encode(), read, "two forms of one value");
    assert!(read.len() <= T::max_encoded_len(), "longer than its type says");
    Some(value)
}

fn statement<S: Statement + Decode + MaxEncodedLen>(bytes: &[u8]) {
    let Some(statement) = canonical::<S>(bytes) else { return };
    let (here, there) = (signed_bytes(&[1; 32], &[2; 32], &statement), signed_bytes(&[1; 32], &[3; 32], &statement));
    assert!(here.ends_with(&statement.encode()) && here != there, "what is signed binds the key");
}
