//! The messages between the enclave and its host, and their frames. The daemon links this crate for these types only.
//!
//! One Unix socket, any number of connections (one for every file that is being sealed). A frame is its length (u32,
//! little-endian, at most [`MAX_FRAME`]) and a SCALE value. Every request gets exactly one response, in order; requests
//! may be sent ahead. A frame that cannot be read ends its connection and nothing else.
//!
//! What the host owes the enclave, or else only its own node is the worse for it:
//! * `items` of a response are new items of the log. The host makes them durable, in the order of their numbers (the
//!   first 8 bytes of an item, little-endian), before it acts on the response. Requests that return items therefore go
//!   one after the other.
//! * An item that did not arrive (the connection broke) is missing in the chain of the log for ever: the host then
//!   starts the enclave anew from what it has. It does the same when it starts itself.
//! * A snapshot takes the place of the whole log, item 0 included. While its parts are asked for, no request that returns
//!   items is sent; if the answers' `number` differs all the same, the host begins again. It writes all items, in their
//!   order, to a new file, makes that durable, and only then puts it in the place of the old log; later items follow it.
//!   It is worth its bytes when the records since the last one outgrow it. Items of a snapshot carry `number`, so the
//!   last item of any complete log says how far it goes; a log that ends inside a snapshot does not open.
//! * After [`Request::Show`] the host answers the whole draw with [`Request::Samples`], also if the draw is empty: then
//!   with one empty batch.
//! * Beside a sealed file it keeps the file's sealed hash tree, and shows both for audits ([`Request::AuditReads`]).
//! * It reads everything again within [`Scrub::period`] slots ([`Request::ScrubNext`]), and faster while disks wait for
//!   that ([`Scrub::waiting`]).

use std::io::{self, Read, Write};

use codec::{Compact, Decode, DecodeWithMemLimit, DecodeWithMemTracking, Encode};
use crust_protocol::{
    Hash, Key, Slot,
    attestation::Collateral,
    file::Cid,
    order::{Content, OrderId},
    statement::{Gone, Heir, Receipts, Report, Signature},
};

use crate::release::SignedRelease;

/// Version of these messages; other versions are refused by whoever reads [`Response::Hello`].
pub const PROTOCOL: u16 = 3;
/// The largest frame.
pub const MAX_FRAME: usize = 8 << 20;
/// The most that the value of one frame may take in memory.
const MAX_DECODED: usize = 48 << 20;
/// The most filler that one request may ask for.
pub const MAX_FILLER: u32 = 4 << 20;
/// Number of [`Request::SealBlock`].
const SEAL_BLOCK: u8 = 5;
/// The most that one `Files` or `GoneDue` lists.
pub const MAX_LIST: u32 = 8_192;
/// The most orders that one `Delete` or `Lost` names.
pub const MAX_ORDERS: usize = 4_096;
/// The most orders that [`Error::GoneFirst`] names.
pub const MAX_GONE_FIRST: usize = 256;

/// A disk, by the id in its id file.
pub type Disk = [u8; 16];

/// What the host asks for.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub enum Request {
    /// Who are you?
    #[codec(index = 0)]
    Hello,
    /// Items of the log, in order; repeated until all are there. Item 0 begins again.
    #[codec(index = 1)]
    Load { items: Vec<Vec<u8>> },
    /// The log is complete. Without items a new identity is made.
    #[codec(index = 2)]
    Open { genesis: Hash, provider: Key },
    /// Evidence for the identity, bound to a recent block.
    #[codec(index = 3)]
    Evidence { block_hash: Hash },
    /// Begins to seal a file on this connection; a file in work on it is thrown away.
    #[codec(index = 4)]
    SealBegin { content: Content },
    /// The next block of the walk.
    #[codec(index = 5)]
    SealBlock { bytes: Vec<u8> },
    /// No more blocks.
    #[codec(index = 6)]
    SealEnd,
    /// Sealed file and hash tree are durable on this disk: the file is held from here on.
    #[codec(index = 7)]
    SealCommit { disk: Disk },
    /// Opens whole sealed chunks that follow each other, from chunk number `chunk` of the file.
    #[codec(index = 8)]
    Read { order: OrderId, chunk: u64, sealed: Vec<u8> },
    /// The next bytes of the filler unit in work on a disk; a multiple of 4 KiB.
    #[codec(index = 9)]
    Filler { disk: Disk, bytes: u32 },
    /// The unit's bytes are durable: it counts from here on.
    #[codec(index = 10)]
    FillerCommit { disk: Disk },
    /// Cuts the disk's filler to its first `to` bytes, a multiple of 4 KiB, and throws a unit in work away.
    #[codec(index = 11)]
    Shrink { disk: Disk, to: u64 },
    /// A slot has begun: what must be read?
    #[codec(index = 12)]
    Show { slot: Slot, slot_hash: Hash },
    /// What was read, in the order of the draw; `None` if it cannot be read just now.
    #[codec(index = 13)]
    Samples { bytes: Vec<Option<Vec<u8>>> },
    /// These files are to be forgotten.
    #[codec(index = 14)]
    Delete { orders: Vec<OrderId> },
    /// The host gives these files up.
    #[codec(index = 15)]
    Lost { orders: Vec<OrderId> },
    /// Makes a statement and logs it.
    #[codec(index = 16)]
    Sign { statement: Saying },
    /// The log is durable up to this statement: sign it.
    #[codec(index = 17)]
    Release { root: Hash },
    /// The chain has accepted this statement for good: older lines may be forgotten.
    #[codec(index = 18)]
    Final { root: Hash },
    #[codec(index = 19)]
    State,
    /// The files held, in the order of their ids.
    #[codec(index = 20)]
    Files { after: Option<OrderId>, limit: u32 },
    /// What must be named gone on the line of `prev` before anything else is said on it.
    #[codec(index = 21)]
    GoneDue { prev: Hash, limit: u32 },
    /// What is to be shown for an audit of 1 KiB of a file, by its number in the stream?
    #[codec(index = 22)]
    AuditReads { order: OrderId, audited: u64 },
    /// What is the scrub to read next? Refused with [`Error::Checking`] while a draw is open.
    #[codec(index = 23)]
    ScrubNext,
    /// What stands in the stretch that was asked for last, all of it: the rest of the scrub waits for it. Bytes that
    /// cannot be read are shown as zeros, or left out at the end: they are bad. `None` only if the whole disk is not
    /// there: then nothing on it is asked for before the next slot. A change like others: the items go to the log.
    #[codec(index = 24)]
    Scrub { stretch: Stretch, bytes: Option<Vec<u8>> },
    /// Begins to make a file's hash tree anew on this connection, because the stored one is damaged; a file in work on it
    /// is thrown away. [`Request::TreeChunks`] with all of the sealed file follows, then [`Request::SealEnd`] and, when
    /// what came back is durable, [`Request::SealCommit`].
    #[codec(index = 25)]
    TreeBegin { order: OrderId },
    /// The next whole sealed chunks of the file, in their order.
    #[codec(index = 26)]
    TreeChunks { sealed: Vec<u8> },
    /// Begins to seal a file on this connection, after those of its segments that are finished; a file in work on it is
    /// thrown away. All blocks follow, as after [`Request::SealBegin`].
    #[codec(index = 27)]
    SealResume { content: Content },
    /// What the log says so far, in parts: from 0 on, then from where the last answer says.
    #[codec(index = 28)]
    Snapshot { from: u64 },
    /// Of a giver: begins a hand-over of the node's key to another enclave of the provider.
    #[codec(index = 29)]
    Challenge,
    /// Of an enclave without a log: asks for the key of the enclave that gave the challenge.
    #[codec(index = 30)]
    Ask { genesis: Hash, provider: Key, challenge: Hash },
    /// Of the giver: hands the key to the heir that asked under this share and shows this.
    #[codec(index = 31)]
    HandOver { heir: Key, shown: Shown },
    /// Of the heir: takes what the giver gave. The items begin its own log.
    #[codec(index = 32)]
    Inherit { share: Key, sealed: Vec<u8>, shown: Shown },
    /// Of an open heir: items of its predecessor's log or of a snapshot of it, in order; repeated until all are there.
    #[codec(index = 33)]
    Follow { items: Vec<Vec<u8>> },
    /// The predecessor's log is complete: goes on with it. The heir's own first item, the predecessor's log without its
    /// first, and the items of the answer are the heir's log from here on.
    #[codec(index = 34)]
    Succeed,
    /// The next segment of the file in work, 1 GiB of the stream, is durable: it need not be sealed again if the file is
    /// cut off. [`Request::Read`] opens it from here on.
    #[codec(index = 35)]
    SealSegment,
}

/// What one enclave shows another: the collateral is the vendor's, the release is from those who built it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub struct Shown {
    pub quote: Vec<u8>,
    pub collateral: Collateral,
    pub release: SignedRelease,
}

/// Sealed bytes that the scrub reads, at most 2 MiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub enum Stretch {
    /// Pages of a disk's filler.
    #[codec(index = 0)]
    Filler { disk: Disk, page: u64, pages: u32 },
    /// Sealed chunks of a file.
    #[codec(index = 1)]
    File { order: OrderId, chunk: u64, chunks: u32 },
    /// Sealed nodes of a file's hash tree; [`crate::tree::range`] says where they stand in it.
    #[codec(index = 2)]
    Tree { order: OrderId, node: u64, nodes: u32 },
}

/// What an audit of a file is answered from.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub struct Audit {
    pub order: OrderId,
    /// Number of the 1 KiB in the stream that the chain has drawn.
    pub audited: u64,
    /// The sealed chunk that holds it.
    pub chunk: Vec<u8>,
    /// The sealed nodes of the hash tree, in the order in which [`Response::AuditReads`] names them.
    pub nodes: Vec<Vec<u8>>,
}

/// A statement to make.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub enum Saying {
    #[codec(index = 0)]
    Receipts { prev: Hash, orders: Vec<OrderId> },
    #[codec(index = 1)]
    Gone { prev: Hash, orders: Vec<OrderId> },
    /// With the answer to the node's due draw, if there is one. It is made of what this enclave has sealed itself, and
    /// refused if that is not shown whole.
    #[codec(index = 2)]
    Report { prev: Hash, slot: Slot, audit: Option<Audit> },
    /// This registered enclave, which has the node's key, may follow.
    #[codec(index = 3)]
    Heir { prev: Hash, heir: Key },
}

/// A statement as it will be signed.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub enum Signed {
    #[codec(index = 0)]
    Receipts(Receipts),
    #[codec(index = 1)]
    Gone(Gone),
    #[codec(index = 2)]
    Report(Report),
    #[codec(index = 3)]
    Heir(Heir),
}

/// What the enclave answers.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub enum Response {
    #[codec(index = 0)]
    Error(Error),
    #[codec(index = 1)]
    Done,
    #[codec(index = 2)]
    Hello(About),
    #[codec(index = 3)]
    Opened { sign_pk: Key, channel_pk: Key, root: Hash, items: Vec<Vec<u8>> },
    /// The collateral only if the platform brings its own.
    #[codec(index = 4)]
    Evidence { quote: Vec<u8>, collateral: Option<Collateral> },
    /// The next bytes of the sealed file and of its sealed hash tree, each to be appended to what came before: whole
    /// chunks and nodes, or nothing yet. At the end the tree has [`crate::tree::length`] bytes; a file of at most 16 KiB
    /// has none.
    #[codec(index = 5)]
    SealOut { sealed: Vec<u8>, tree: Vec<u8> },
    #[codec(index = 6)]
    Items { items: Vec<Vec<u8>> },
    #[codec(index = 7)]
    Plain { bytes: Vec<u8> },
    /// May be shorter than asked for, at the end of the unit.
    #[codec(index = 8)]
    FillerOut { bytes: Vec<u8> },
    #[codec(index = 9)]
    Shown { items: Vec<Vec<u8>>, draw: Vec<Sample> },
    /// `left` samples are still to be answered; with the last batch come items and result.
    #[codec(index = 10)]
    Checked { left: u32, items: Vec<Vec<u8>>, result: Option<CheckResult> },
    #[codec(index = 11)]
    Signed { items: Vec<Vec<u8>>, statement: Signed },
    #[codec(index = 12)]
    Signature { signature: Signature },
    #[codec(index = 13)]
    State(State),
    #[codec(index = 14)]
    Files { files: Vec<FileInfo> },
    #[codec(index = 15)]
    Orders { orders: Vec<OrderId> },
    /// The number of the sealed chunk, and those of the sealed nodes of the hash tree.
    #[codec(index = 16)]
    AuditReads { chunk: u64, nodes: Vec<u64> },
    #[codec(index = 17)]
    ScrubNext(Scrub),
    /// What was bad in the stretch, and what is to be read next.
    #[codec(index = 18)]
    Scrubbed { items: Vec<Vec<u8>>, bad: Vec<Sample>, next: Option<Stretch> },
    /// Items of a snapshot that stands for the log up to record `number`, after which its root is `root`.
    #[codec(index = 20)]
    Snapshot { number: u64, root: Hash, items: Vec<Vec<u8>>, next: Option<u64> },
    #[codec(index = 21)]
    Challenge { challenge: Hash },
    /// The collateral only if the platform brings its own.
    #[codec(index = 22)]
    Asked { share: Key, quote: Vec<u8>, collateral: Option<Collateral> },
    #[codec(index = 23)]
    Handed { items: Vec<Vec<u8>>, share: Key, sealed: Vec<u8>, quote: Vec<u8>, collateral: Option<Collateral> },
    /// Segments that are finished, and of which no sealed bytes come: the first that does belongs behind them.
    #[codec(index = 24)]
    Resumed { segments: u64 },
}

/// Where the scrub stands.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub struct Scrub {
    /// `None` if all was read in this slot, but for what is bad or on a disk that is not there.
    pub next: Option<Stretch>,
    /// The slot shown when the oldest byte held was written or read last; `None` if nothing is held.
    pub until: Option<Slot>,
    /// SCRUB_PERIOD: slots within which everything is to be read again. A report whose `until` is twice as old has
    /// neither power nor pay.
    pub period: Slot,
    /// Disks on which something was bad: no new filler before all on them was read again, in a later slot, and was good.
    /// What lies on them is asked for first.
    pub waiting: Vec<Disk>,
}

/// Which program this is.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub struct About {
    /// [`PROTOCOL`].
    pub protocol: u16,
    pub release: u32,
    /// MRENCLAVE, or what stands for it.
    pub measurement: Hash,
    /// Whether this is the development enclave, which proves nothing.
    pub development: bool,
    /// Of the source.
    pub commit: String,
}

/// Something to read for a check.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode, DecodeWithMemTracking)]
pub enum Sample {
    /// A 4 KiB page of a disk's filler.
    #[codec(index = 0)]
    Filler { disk: Disk, page: u64 },
    /// A sealed chunk of a file.
    #[codec(index = 1)]
    File { order: OrderId, chunk: u64 },
    /// A sealed node of a file's hash tree; only what the scrub has found bad is asked for.
    #[codec(index = 2)]
    Tree { order: OrderId, node: u64 },
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub struct CheckResult {
    pub slot: Slot,
    pub good_filler: u8,
    pub good_files: u8,
    /// What was bad, in the draw or when it was read again.
    pub bad: Vec<Sample>,
}

/// The enclave at a glance.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub struct State {
    /// Head of the log.
    pub root: Hash,
    pub sign_pk: Key,
    /// Length of the filler on each disk, units in work apart.
    pub filler: Vec<(Disk, u64)>,
    pub files: u64,
    pub stored_bytes: u64,
    pub shown: Option<(Slot, Hash)>,
    /// The draw of the slot shown is not answered yet: show it again, or a later slot, and answer.
    pub checking: bool,
    /// Files with a receipt that are gone, and not yet named gone on the final line.
    pub gone_due: u64,
    /// The platform's security version has risen: take a snapshot, which wraps the key at the new one.
    pub rewrap: bool,
}

/// One file.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub struct FileInfo {
    pub order: OrderId,
    pub size: u64,
    /// Sealed chunks.
    pub chunks: u64,
    /// A receipt was made.
    pub receipt_signed: bool,
    /// Given up; the entry stays until it is deleted.
    pub lost: bool,
}

/// Why the enclave refuses.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Encode, Decode, DecodeWithMemTracking)]
pub enum Error {
    #[error("the enclave has no identity yet: load the log and open it")]
    #[codec(index = 0)]
    NotOpen,
    #[error("the log is already open: start the enclave anew to load another")]
    #[codec(index = 1)]
    AlreadyOpen,
    #[error("item {item} of the log cannot be read here: it is damaged, out of order, or of another platform")]
    #[codec(index = 2)]
    Log { item: u64 },
    #[error("the log is of another chain")]
    #[codec(index = 3)]
    OtherGenesis,
    #[error("the log is of another provider")]
    #[codec(index = 4)]
    OtherProvider,
    #[error("{0}")]
    #[codec(index = 5)]
    Platform(String),
    #[error("the system gave no random bytes")]
    #[codec(index = 6)]
    Entropy,
    #[error("no file is being sealed on this connection")]
    #[codec(index = 7)]
    NoSealing,
    #[error("the file is refused: {0}")]
    #[codec(index = 8)]
    Graph(String),
    #[error("the file is not complete: the next block is {next:?}")]
    #[codec(index = 9)]
    Incomplete { next: Cid },
    #[error("the order says {ordered} bytes, the file has {found}")]
    #[codec(index = 10)]
    Size { ordered: u64, found: u64 },
    #[error("the order's audit root is not that of the file")]
    #[codec(index = 11)]
    AuditRoot,
    #[error("the order is sealed already")]
    #[codec(index = 12)]
    AlreadySealed { order: OrderId },
    #[error("a check is under way: answer its draw first")]
    #[codec(index = 13)]
    Checking,
    #[error("no file of this order is held")]
    #[codec(index = 14)]
    NotSealed { order: OrderId },
    #[error("the order is private: its bytes go to its readers only")]
    #[codec(index = 15)]
    Private,
    #[error("chunk {chunk} is damaged")]
    #[codec(index = 16)]
    Damaged { chunk: u64 },
    #[error("filler comes in pages of 4 KiB, at most 4 MiB at a time")]
    #[codec(index = 17)]
    FillerSize,
    #[error("the filler unit on this disk is complete: commit it")]
    #[codec(index = 18)]
    UnitFull,
    #[error("no filler unit is in work on this disk")]
    #[codec(index = 19)]
    NoUnit,
    #[error("something on this disk was bad: no new filler before all on it was read again and was good")]
    #[codec(index = 20)]
    DiskBad,
    #[error("the disk's filler has {length} bytes: it can be cut to fewer, in pages of 4 KiB")]
    #[codec(index = 21)]
    ShrinkTo { length: u64 },
    #[error("no draw waits for an answer: show the slot first")]
    #[codec(index = 22)]
    NoCheck,
    #[error("these are more answers than the draw has questions")]
    #[codec(index = 23)]
    TooManySamples,
    #[error("this root is none that a statement may follow: none of this log's, or older than the final one")]
    #[codec(index = 24)]
    UnknownPrev,
    #[error("no statement of this log has this root")]
    #[codec(index = 25)]
    UnknownRoot,
    #[error("{} files with receipts are gone and must be named gone on this line first", .orders.len())]
    #[codec(index = 26)]
    GoneFirst { orders: Vec<OrderId> },
    #[error("slot {slot} was not checked last")]
    #[codec(index = 27)]
    NotChecked { slot: Slot },
    #[error("the file of this order is held, or never had a receipt")]
    #[codec(index = 28)]
    NotGone { order: OrderId },
    #[error("too few, too many or repeated orders")]
    #[codec(index = 29)]
    Orders,
    #[error("too many disks")]
    #[codec(index = 30)]
    TooManyDisks,
    #[error("node {node} of the file's hash tree is damaged")]
    #[codec(index = 31)]
    DamagedTree { node: u64 },
    #[error("the file has no such part")]
    #[codec(index = 32)]
    NoSuchPart,
    #[error("this is not what the scrub asks for: ask what is next")]
    #[codec(index = 33)]
    NotNext,
    #[error("the snapshot has no entry {from}: begin again with 0")]
    #[codec(index = 40)]
    NoEntry { from: u64 },
    #[error("no hand-over was begun here, or it has ended: begin it again")]
    #[codec(index = 41)]
    NoChallenge,
    #[error("the other enclave's evidence is refused: {0}")]
    #[codec(index = 42)]
    Evidence(String),
    #[error("the other enclave's release is not signed by enough of the release keys")]
    #[codec(index = 43)]
    NotSigned,
    #[error("the other enclave's evidence is of another program than the release it shows")]
    #[codec(index = 44)]
    OtherRelease,
    #[error("an enclave of release {giver} gives its key to the same or a later release only, not to {heir}")]
    #[codec(index = 45)]
    ReleaseOrder { giver: u32, heir: u32 },
    #[error("the other enclave's evidence was made for another exchange: for another chain, provider, key or moment")]
    #[codec(index = 46)]
    NotBound,
    #[error("the log does not name this enclave as an heir")]
    #[codec(index = 47)]
    NotHeir,
    #[error("this platform keeps no key: ask another enclave of this node for it")]
    #[codec(index = 48)]
    NoKey,
    #[error("this platform keeps no key: hand it to a standby before taking orders")]
    #[codec(index = 49)]
    NoStandby,
}

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the connection to the enclave failed: {0}")]
    Io(#[from] io::Error),
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME}")]
    TooLarge(usize),
    #[error("the frame holds no message of this protocol")]
    Malformed,
}

/// The frame of a message, its length in front.
pub fn encode(message: &impl Encode) -> Result<Vec<u8>, FrameError> {
    let mut frame = Vec::with_capacity(message.size_hint().saturating_add(4));
    frame.extend_from_slice(&[0; 4]);
    message.encode_to(&mut frame);
    let length = frame.len().saturating_sub(4);
    let prefix = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME).ok_or(FrameError::TooLarge(length))?;
    for (to, from) in frame.iter_mut().zip(prefix.to_le_bytes()) {
        *to = from;
    }
    Ok(frame)
}

/// The length of a frame's body, from its first 4 bytes.
pub fn body_length(prefix: [u8; 4]) -> Result<usize, FrameError> {
    let length = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
    if length <= MAX_FRAME { Ok(length) } else { Err(FrameError::TooLarge(length)) }
}

/// The message in a frame's body: all of it, and nothing that takes much more memory than it.
pub fn decode<T: DecodeWithMemTracking>(mut body: &[u8]) -> Result<T, FrameError> {
    let message = T::decode_with_mem_limit(&mut body, MAX_DECODED).map_err(|_| FrameError::Malformed)?;
    if body.is_empty() { Ok(message) } else { Err(FrameError::Malformed) }
}

/// The bytes of a [`Request::SealBlock`], where they stand in the frame's body; `None` if it is another request.
pub fn block_of(body: &[u8]) -> Option<&[u8]> {
    let (&SEAL_BLOCK, mut bytes) = body.split_first()? else { return None };
    let length = Compact::<u32>::decode(&mut bytes).ok()?;
    (u32::try_from(bytes.len()) == Ok(length.0)).then_some(bytes)
}

/// Number of a response that is nothing but bytes.
#[derive(Clone, Copy)]
pub enum Bytes {
    /// [`Response::SealOut`]
    Sealed = 5,
    /// [`Response::Plain`]
    Plain = 7,
    /// [`Response::FillerOut`]
    Filler = 8,
}

/// The most bytes that stand in front of those of a response that is one byte string.
pub const BYTES_HEAD: usize = 6;

/// How many bytes stand in front of the others in a body that is this response with one byte string, from its first
/// [`BYTES_HEAD`] bytes or fewer and its length; `None` if it is another.
pub fn head_of(response: Bytes, start: &[u8], length: usize) -> Option<usize> {
    let (number, mut rest) = start.split_first()?;
    let count = Compact::<u32>::decode(&mut rest).ok().filter(|_| *number == response as u8)?;
    let head = start.len().checked_sub(rest.len())?;
    (usize::try_from(count.0).ok()?.checked_add(head)? == length).then_some(head)
}

/// Writes a response that is nothing but byte strings without a further copy of them.
pub fn write_bytes(stream: &mut impl Write, response: Bytes, strings: &[&[u8]]) -> Result<(), FrameError> {
    let mut length = 1usize;
    let mut counts = Vec::with_capacity(strings.len());
    for string in strings {
        let count = u32::try_from(string.len()).map_err(|_| FrameError::TooLarge(string.len()))?;
        let count = Compact(count).encode();
        length = length.saturating_add(count.len()).saturating_add(string.len());
        counts.push(count);
    }
    let prefix = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME).ok_or(FrameError::TooLarge(length))?;
    let mut head = [prefix.to_le_bytes().as_slice(), &[response as u8]].concat();
    for (count, string) in counts.iter().zip(strings) {
        head.extend_from_slice(count);
        stream.write_all(&head)?;
        stream.write_all(string)?;
        head.clear();
    }
    Ok(stream.flush()?)
}

/// Reads a frame's body into `body`; `false` if the connection ended before it.
pub fn read_frame(stream: &mut impl Read, body: &mut Vec<u8>) -> Result<bool, FrameError> {
    let mut prefix = [0; 4];
    let mut filled = 0;
    while let Some(rest) = prefix.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let length = body_length(prefix)?;
    body.clear();
    let read = stream.take(u64::try_from(length).unwrap_or(u64::MAX)).read_to_end(body)?;
    if read == length { Ok(true) } else { Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()) }
}

/// Writes a message as one frame.
pub fn write_frame(stream: &mut impl Write, message: &impl Encode) -> Result<(), FrameError> {
    stream.write_all(&encode(message)?)?;
    Ok(stream.flush()?)
}

#[cfg(test)]
#[path = "rpc_tests.rs"]
mod tests;
