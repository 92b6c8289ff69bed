//! A TDX guest, through the kernel's configfs-tsm (Linux 6.7 and later).
//!
//! TDX 1.x has no sealing key: `K_seal` lives in memory, and comes back from a standby after a stop.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crust_protocol::attestation::Collateral;

use super::{Error, Platform, SealKey, Svn};

const REPORTS: &str = "/sys/kernel/config/tsm/report";
/// The kernel's driver for TDX guests.
const PROVIDER: &str = "tdx_guest";
/// The directory in which this program asks.
const ENTRY: &str = "crust-enclave";

/// The guest.
pub struct Tdx {
    reports: PathBuf,
    asking: Mutex<()>,
}

impl Tdx {
    /// The guest that this program runs in.
    pub fn here() -> Self {
        Self::at(Path::new(REPORTS))
    }

    fn at(reports: &Path) -> Self {
        Tdx { reports: reports.to_owned(), asking: Mutex::new(()) }
    }

    fn ask(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, Error> {
        let entry = self.reports.join(ENTRY);
        // One that a stop left behind serves as well.
        match fs::create_dir(&entry) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(&entry, &error)),
            _ => {}
        }
        let read = |name: &str| {
            let path = entry.join(name);
            fs::read(&path).map_err(|error| failed(&path, &error))
        };
        if read("provider")?.trim_ascii() != PROVIDER.as_bytes() {
            return Err(Error::Unavailable(format!("{} is not of a TDX guest", entry.display())));
        }
        let inblob = entry.join("inblob");
        fs::write(&inblob, report_data).map_err(|error| failed(&inblob, &error))?;
        // The kernel counts what is written: an answer to somebody else's question is none.
        let generation = read("generation")?;
        let quote = read("outblob")?;
        if read("generation")? != generation {
            return Err(Error::Unavailable("another program asked for a quote at the same time".into()));
        }
        // The kernel's directories go with what is in them.
        let _ = fs::remove_dir(&entry);
        Ok(quote)
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::Unavailable(format!("{}: {error}", path.display()))
}

impl Platform for Tdx {
    fn seal_key(&self, _: Option<Svn>) -> Result<Option<SealKey>, Error> {
        Ok(None)
    }

    fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, Error> {
        let _asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        self.ask(report_data)
    }

    fn collateral(&self) -> Result<Option<Collateral>, Error> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crust_protocol::{
        file::{Cid, Codec, HashFunction},
        order::Content,
        statement::first_root,
    };

    use super::*;
    use crate::{
        Constants, Enclave,
        rpc::{Error as Refusal, Saying, Signed},
        seal::Out,
    };

    /// An entry of configfs as a plain directory.
    fn entry() -> (tempfile::TempDir, Tdx) {
        let dir = tempfile::tempdir().unwrap();
        let entry = dir.path().join(ENTRY);
        fs::create_dir(&entry).unwrap();
        for (name, bytes) in [("provider", "tdx_guest\n"), ("generation", "1\n"), ("outblob", "a quote")] {
            fs::write(entry.join(name), bytes).unwrap();
        }
        let tdx = Tdx::at(dir.path());
        (dir, tdx)
    }

    #[test]
    fn it_asks_as_the_kernel_wants_to_be_asked() {
        let (dir, tdx) = entry();
        assert_eq!(tdx.quote(&[7; 64]).unwrap(), b"a quote");
        assert_eq!(fs::read(dir.path().join(ENTRY).join("inblob")).unwrap(), [7; 64]);
        assert!(tdx.seal_key(None).unwrap().is_none());
        assert!(tdx.collateral().unwrap().is_none());
    }

    /// The other program writes while this one reads: the quote comes through a pipe, whose writer counts on.
    #[test]
    fn an_answer_to_another_question_is_refused() {
        let (dir, tdx) = entry();
        let outblob = dir.path().join(ENTRY).join("outblob");
        fs::remove_file(&outblob).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&outblob).status().unwrap().success());
        let generation = dir.path().join(ENTRY).join("generation");
        let other = std::thread::spawn(move || {
            let mut pipe = fs::OpenOptions::new().write(true).open(&outblob).unwrap();
            fs::write(generation, "2\n").unwrap();
            io::Write::write_all(&mut pipe, b"another quote").unwrap();
        });
        assert!(tdx.quote(&[7; 64]).unwrap_err().to_string().contains("another program"));
        other.join().unwrap();
    }

    #[test]
    fn what_is_missing_or_of_another_driver_is_said() {
        let (dir, tdx) = entry();
        fs::write(dir.path().join(ENTRY).join("provider"), "sev_guest\n").unwrap();
        assert!(tdx.quote(&[7; 64]).unwrap_err().to_string().contains("not of a TDX guest"));
        let nowhere = Tdx::at(&dir.path().join("nowhere"));
        assert!(nowhere.quote(&[0; 64]).unwrap_err().to_string().contains("nowhere/crust-enclave"));
    }

    /// Its key dies with it. So it takes no orders, which needs a receipt, before somebody else has the key; all else it
    /// says.
    #[test]
    fn a_guest_signs_no_receipt_before_it_has_an_heir() {
        let (_dir, tdx) = entry();
        let mut enclave = Enclave::new(Arc::new(tdx), Constants::DEVELOPMENT);
        let opened = enclave.open([1; 32], [2; 32]).unwrap();
        assert_eq!(opened.items[0], [0; 8], "nothing wraps the key");
        let bytes = b"a file of one block";
        let content = Content {
            client: [3; 32],
            nonce: 1,
            cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, bytes),
            size: bytes.len() as u64,
            audit_root: *blake3::hash(bytes).as_bytes(),
            flags: 0,
        };
        let (order, mut out) = (content.id(), Out::default());
        let mut sealer = enclave.seal(content).unwrap();
        sealer.feed(bytes, &mut out).unwrap();
        enclave.hold(&sealer.finish(&mut out).unwrap(), [9; 16]).unwrap();
        let prev = first_root(&opened.sign_pk);
        let receipts = Saying::Receipts { prev, orders: vec![order] };
        assert_eq!(enclave.say(receipts.clone()).err(), Some(Refusal::NoStandby));
        let (_, draw) = enclave.show(5, [9; 32]).unwrap();
        enclave.answer(draw.iter().map(|_| None).collect()).unwrap();
        let (_, said) = enclave.say(Saying::Report { prev, slot: 5, audit: None }).unwrap();
        assert!(matches!(said, Signed::Report(_)));
        assert_eq!(enclave.say(receipts).err(), Some(Refusal::NoStandby));
    }

    #[test]
    fn a_release_build_knows_one_place() {
        assert_eq!(Tdx::here().reports, Path::new("/sys/kernel/config/tsm/report"));
    }
}
