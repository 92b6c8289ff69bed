//! The head of a file of the log: which log it is, how often that began anew, and what the snapshot that it begins with
//! stands for.
//!
//! `"CRUSTLG3" ‖ id [u8; 16] ‖ generation u64 ‖ SCALE(snapshot) padded with zeros to 56 bytes ‖ check [u8; 8]`, the check
//! being the head of H over what precedes it. A generation is one more than that of the file that it takes the place of.

use codec::{Decode, Encode};
use crust_protocol::{Hash, h};

/// The first bytes of every version's files that this one can tell from others.
const VERSION: &[u8; 8] = b"CRUSTLG3";
/// Bytes of a head.
pub(super) const LENGTH: usize = 96;
const CHECKED: usize = LENGTH - 8;

/// Who a file is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Head {
    id: [u8; 16],
    generation: u64,
    pub snapshot: Option<Snapshot>,
}

/// The snapshot with which a log begins.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Snapshot {
    /// Bytes of the file up to its end, the head included.
    pub end: u64,
    /// Number of the last record that it stands for.
    pub record: u64,
    /// The log's root after that record.
    pub root: Hash,
    /// When it was taken, in seconds since 1970.
    pub taken: u32,
}

impl Head {
    /// Of a log that begins.
    pub fn new(id: [u8; 16]) -> Self {
        Head { id, generation: 0, snapshot: None }
    }

    /// Of the file that takes this one's place.
    pub fn next(&self) -> Self {
        Head { id: self.id, generation: self.generation.saturating_add(1), snapshot: None }
    }

    /// Whether a file is of the same log, and what it is to this one: older, the same, newer.
    pub fn compare(&self, other: &Head) -> Option<std::cmp::Ordering> {
        (self.id == other.id).then(|| self.generation.cmp(&other.generation))
    }

    /// What the checks of the file's frames begin with, so that those of no other file are taken for them.
    pub fn tag(&self) -> [u8; 24] {
        let mut tag = [0; 24];
        let bytes = self.id.iter().copied().chain(self.generation.to_le_bytes());
        tag.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        tag
    }

    pub fn bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let fields = [VERSION.as_slice(), &self.tag(), &self.snapshot.encode()].concat();
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        let check = h(&[bytes.get(..CHECKED).unwrap_or_default()]);
        bytes.iter_mut().skip(CHECKED).zip(check).for_each(|(to, from)| *to = from);
        bytes
    }

    /// `None` if they are damaged.
    pub fn read(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (id, rest) = bytes.strip_prefix(VERSION)?.split_first_chunk()?;
        let (generation, mut rest) = rest.split_first_chunk()?;
        let snapshot = Option::decode(&mut rest).ok()?;
        let head = Head { id: *id, generation: u64::from_le_bytes(*generation), snapshot };
        (head.bytes() == *bytes).then_some(head)
    }

    /// Whether these are the first bytes of a file of this version.
    pub fn is_ours(first: &[u8]) -> bool {
        first.starts_with(VERSION)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_a_head() {
        let mut head = Head::new([7; 16]).next();
        head.snapshot = Some(Snapshot { end: 300, record: 9, root: [5; 32], taken: 1_700_000_000 });
        let expected = concat!(
            "43525553544c4733",
            "07070707070707070707070707070707",
            "0100000000000000",
            "01",
            "2c01000000000000",
            "0900000000000000",
            "0505050505050505050505050505050505050505050505050505050505050505",
            "00f15365",
            "000000",
        );
        let bytes = head.bytes();
        assert_eq!(hex::encode(&bytes[..CHECKED]), expected);
        assert_eq!(bytes[CHECKED..], h(&[&bytes[..CHECKED]])[..8]);
        assert_eq!(Head::read(&bytes), Some(head));
        for at in 0..LENGTH {
            let mut wrong = bytes;
            wrong[at] ^= 1;
            assert_eq!(Head::read(&wrong), None, "byte {at}");
        }
        let first = Head::new([1; 16]);
        assert_eq!(Head::read(&first.bytes()), Some(first));
    }
}
