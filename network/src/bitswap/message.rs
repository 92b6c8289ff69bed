//! Messages of Bitswap 1.2 as they stand on the wire: a protobuf `Message` after its length as an unsigned varint.
//!
//! ```proto
//! message Message {
//!   message Wantlist {
//!     enum WantType { Block = 0; Have = 1; }
//!     message Entry { bytes block = 1; int32 priority = 2; bool cancel = 3; WantType wantType = 4; bool sendDontHave = 5; }
//!     repeated Entry entries = 1;
//!     bool full = 2;
//!   }
//!   message Block { bytes prefix = 1; bytes data = 2; }
//!   enum BlockPresenceType { Have = 0; DontHave = 1; }
//!   message BlockPresence { bytes cid = 1; BlockPresenceType type = 2; }
//!   Wantlist wantlist = 1;
//!   repeated bytes blocks = 2; // of version 1.0, not used
//!   repeated Block payload = 3;
//!   repeated BlockPresence blockPresences = 4;
//!   int32 pendingBytes = 5;
//! }
//! ```
//!
//! Written by hand so that a block's bytes are copied neither in nor out, and so that a message of four million empty
//! entries costs no memory.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crust_protocol::file::{Cid, HashFunction};

/// The largest message in either direction, in bytes.
pub(crate) const MAX_MESSAGE: usize = 4 << 20;
/// Entries, blocks or presences kept of one message; what follows is skipped.
pub(crate) const MAX_ITEMS: usize = 8_192;

/// What a peer wants, or wants no more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    /// The binary CID as the peer wrote it; answers repeat it.
    pub cid: Bytes,
    pub priority: i32,
    pub cancel: bool,
    pub kind: Kind,
    pub send_dont_have: bool,
}

/// What an entry asks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// Whether the block is there.
    Have,
    /// The block.
    Block,
}

/// A block with the part of its CID that comes before the digest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Payload {
    pub prefix: Bytes,
    pub data: Bytes,
}

/// Whether a block is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Presence {
    pub cid: Bytes,
    pub have: bool,
}

/// One message.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Message {
    /// The entries replace all earlier ones.
    pub full: bool,
    pub entries: Vec<Entry>,
    pub blocks: Vec<Payload>,
    pub presences: Vec<Presence>,
}

/// Bytes that are not a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a Bitswap message")]
pub(crate) struct Malformed;

impl Message {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.blocks.is_empty() && self.presences.is_empty() && !self.full
    }

    /// Reads the body of a message; blocks and CIDs are slices of `body`.
    pub(crate) fn decode(mut body: Bytes) -> Result<Self, Malformed> {
        let mut message = Message::default();
        while body.has_remaining() {
            match key(&mut body)? {
                (1, LENGTH_DELIMITED) => message.decode_wantlist(delimited(&mut body)?)?,
                (3, LENGTH_DELIMITED) => {
                    let block = decode_payload(delimited(&mut body)?)?;
                    keep(&mut message.blocks, block);
                }
                (4, LENGTH_DELIMITED) => {
                    let presence = decode_presence(delimited(&mut body)?)?;
                    keep(&mut message.presences, presence);
                }
                (_, wire_type) => skip(&mut body, wire_type)?,
            }
        }
        Ok(message)
    }

    fn decode_wantlist(&mut self, mut wantlist: Bytes) -> Result<(), Malformed> {
        while wantlist.has_remaining() {
            match key(&mut wantlist)? {
                (1, LENGTH_DELIMITED) => {
                    let entry = decode_entry(delimited(&mut wantlist)?)?;
                    keep(&mut self.entries, entry);
                }
                (2, VARINT) => self.full = varint(&mut wantlist)? != 0,
                (_, wire_type) => skip(&mut wantlist, wire_type)?,
            }
        }
        Ok(())
    }

    /// Length and body, in pieces: the data of the blocks are pieces of their own.
    pub(crate) fn encode(&self) -> Vec<Bytes> {
        let mut out = Pieces::default();
        if self.full || !self.entries.is_empty() {
            let mut wantlist = BytesMut::new();
            for entry in &self.entries {
                put_delimited(&mut wantlist, 1, &encode_entry(entry));
            }
            put_number(&mut wantlist, 2, u64::from(self.full));
            put_delimited(&mut out.open, 1, &wantlist);
        }
        for block in &self.blocks {
            let mut head = BytesMut::new();
            put_bytes(&mut head, 1, &block.prefix);
            if !block.data.is_empty() {
                put_key(&mut head, 2, LENGTH_DELIMITED);
                put_varint(&mut head, length(&block.data));
            }
            put_key(&mut out.open, 3, LENGTH_DELIMITED);
            put_varint(&mut out.open, length(&head).saturating_add(length(&block.data)));
            out.open.put_slice(&head);
            out.push(block.data.clone());
        }
        for presence in &self.presences {
            let mut bytes = BytesMut::new();
            put_bytes(&mut bytes, 1, &presence.cid);
            put_number(&mut bytes, 2, u64::from(!presence.have));
            put_delimited(&mut out.open, 4, &bytes);
        }
        out.finish()
    }
}

/// The hash function of a block, from its prefix: version, codec, hash function, digest length.
pub(crate) fn hash_function(prefix: &Bytes) -> Option<HashFunction> {
    let mut prefix = prefix.clone();
    let version = varint(&mut prefix).ok()?;
    let _codec = varint(&mut prefix).ok()?;
    let function = varint(&mut prefix).ok()?;
    let digest_length = varint(&mut prefix).ok()?;
    if version > 1 || digest_length != 32 || prefix.has_remaining() {
        return None;
    }
    [HashFunction::Sha2_256, HashFunction::Blake3].into_iter().find(|known| u64::from(*known as u8) == function)
}

/// The prefix of a block that was asked for by this binary CID.
pub(crate) fn prefix(asked: &Bytes, cid: &Cid) -> Bytes {
    if asked.first() == Some(&0x12) {
        // Version 0: dag-pb, sha2-256, 32 bytes.
        return Bytes::from_static(&[0x00, 0x70, 0x12, 0x20]);
    }
    Bytes::copy_from_slice(cid.as_bytes().get(..4).unwrap_or_default())
}

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

/// Finished pieces and the one that is being written.
#[derive(Default)]
struct Pieces {
    done: Vec<Bytes>,
    open: BytesMut,
    length: usize,
}

impl Pieces {
    fn push(&mut self, piece: Bytes) {
        for piece in [self.open.split().freeze(), piece] {
            if !piece.is_empty() {
                self.length = self.length.saturating_add(piece.len());
                self.done.push(piece);
            }
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.push(Bytes::new());
        let mut head = BytesMut::new();
        put_varint(&mut head, u64::try_from(self.length).unwrap_or(u64::MAX));
        self.done.insert(0, head.freeze());
        self.done
    }
}

fn decode_entry(mut bytes: Bytes) -> Result<Entry, Malformed> {
    let mut entry = Entry { cid: Bytes::new(), priority: 0, cancel: false, kind: Kind::Block, send_dont_have: false };
    while bytes.has_remaining() {
        match key(&mut bytes)? {
            (1, LENGTH_DELIMITED) => entry.cid = delimited(&mut bytes)?,
            // An int32 is sign-extended to 64 bits on the wire.
            (2, VARINT) => {
                entry.priority = varint(&mut bytes)?.cast_signed().clamp(i32::MIN.into(), i32::MAX.into()) as i32
            }
            (3, VARINT) => entry.cancel = varint(&mut bytes)? != 0,
            (4, VARINT) => entry.kind = if varint(&mut bytes)? == 1 { Kind::Have } else { Kind::Block },
            (5, VARINT) => entry.send_dont_have = varint(&mut bytes)? != 0,
            (_, wire_type) => skip(&mut bytes, wire_type)?,
        }
    }
    Ok(entry)
}

fn decode_payload(mut bytes: Bytes) -> Result<Payload, Malformed> {
    let mut payload = Payload { prefix: Bytes::new(), data: Bytes::new() };
    while bytes.has_remaining() {
        match key(&mut bytes)? {
            (1, LENGTH_DELIMITED) => payload.prefix = delimited(&mut bytes)?,
            (2, LENGTH_DELIMITED) => payload.data = delimited(&mut bytes)?,
            (_, wire_type) => skip(&mut bytes, wire_type)?,
        }
    }
    Ok(payload)
}

fn decode_presence(mut bytes: Bytes) -> Result<Presence, Malformed> {
    let mut presence = Presence { cid: Bytes::new(), have: true };
    while bytes.has_remaining() {
        match key(&mut bytes)? {
            (1, LENGTH_DELIMITED) => presence.cid = delimited(&mut bytes)?,
            (2, VARINT) => presence.have = varint(&mut bytes)? == 0,
            (_, wire_type) => skip(&mut bytes, wire_type)?,
        }
    }
    Ok(presence)
}

fn encode_entry(entry: &Entry) -> BytesMut {
    let mut bytes = BytesMut::new();
    put_bytes(&mut bytes, 1, &entry.cid);
    put_number(&mut bytes, 2, i64::from(entry.priority).cast_unsigned());
    put_number(&mut bytes, 3, u64::from(entry.cancel));
    put_number(&mut bytes, 4, u64::from(entry.kind == Kind::Have));
    put_number(&mut bytes, 5, u64::from(entry.send_dont_have));
    bytes
}

fn keep<T>(items: &mut Vec<T>, item: T) {
    if items.len() < MAX_ITEMS {
        items.push(item);
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn key(bytes: &mut Bytes) -> Result<(u64, u64), Malformed> {
    let key = varint(bytes)?;
    Ok((key >> 3, key & 7))
}

/// A protobuf varint; unlike a multiformats one it need not be the shortest form.
fn varint(bytes: &mut Bytes) -> Result<u64, Malformed> {
    let mut value: u64 = 0;
    for shift in (0..70u32).step_by(7) {
        let byte = bytes.try_get_u8().map_err(|_| Malformed)?;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn delimited(bytes: &mut Bytes) -> Result<Bytes, Malformed> {
    let length = usize::try_from(varint(bytes)?).map_err(|_| Malformed)?;
    if length > bytes.len() {
        return Err(Malformed);
    }
    Ok(bytes.split_to(length))
}

fn skip(bytes: &mut Bytes, wire_type: u64) -> Result<(), Malformed> {
    let length = match wire_type {
        VARINT => return varint(bytes).map(drop),
        LENGTH_DELIMITED => return delimited(bytes).map(drop),
        FIXED_64 => 8,
        FIXED_32 => 4,
        _ => return Err(Malformed),
    };
    if length > bytes.len() {
        return Err(Malformed);
    }
    bytes.advance(length);
    Ok(())
}

fn put_varint(to: &mut BytesMut, mut value: u64) {
    while value > 0x7f {
        to.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.put_u8(value as u8);
}

fn put_key(to: &mut BytesMut, field: u64, wire_type: u64) {
    put_varint(to, field << 3 | wire_type);
}

/// A number or an enumeration; zero is left out.
fn put_number(to: &mut BytesMut, field: u64, value: u64) {
    if value != 0 {
        put_key(to, field, VARINT);
        put_varint(to, value);
    }
}

/// A byte string; the empty one is left out.
fn put_bytes(to: &mut BytesMut, field: u64, value: &[u8]) {
    if !value.is_empty() {
        put_delimited(to, field, value);
    }
}

fn put_delimited(to: &mut BytesMut, field: u64, value: &[u8]) {
    put_key(to, field, LENGTH_DELIMITED);
    put_varint(to, length(value));
    to.put_slice(value);
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
