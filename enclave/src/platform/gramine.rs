//! SGX under Gramine, through its pseudo-files in `/dev/attestation`.
//!
//! Gramine gives the sealing key of the present security version only: after a microcode update the old one is out of
//! reach, and `K_seal` comes back from a standby (`docs/operate/tee.md`).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crust_protocol::attestation::Collateral;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Error, Platform, SealKey, Svn};

const DEVICE: &str = "/dev/attestation";
/// The key that EGETKEY derives from MRENCLAVE.
const SEAL_KEY: &str = "keys/_sgx_mrenclave";
/// An SGX report; its first bytes are CPUSVN.
const REPORT: usize = 432;

/// The machine under Gramine.
pub struct Gramine {
    device: PathBuf,
    /// What is asked for is written to one file and answered in another.
    asking: Mutex<()>,
}

impl Gramine {
    /// The machine that this program runs on.
    pub fn here() -> Self {
        Self::at(Path::new(DEVICE))
    }

    fn at(device: &Path) -> Self {
        Gramine { device: device.to_owned(), asking: Mutex::new(()) }
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let path = self.device.join(name);
        fs::read(&path).map_err(|error| Error::Unavailable(format!("{}: {error}", path.display())))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.device.join(name);
        fs::write(&path, bytes).map_err(|error| Error::Unavailable(format!("{}: {error}", path.display())))
    }

    /// CPUSVN, from a report of this enclave to itself.
    fn svn(&self) -> Result<Svn, Error> {
        let _asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let own = self.read("my_target_info")?;
        self.write("target_info", &own)?;
        self.write("user_report_data", &[0; 64])?;
        let report = self.read("report")?;
        let svn = report.first_chunk().filter(|_| report.len() == REPORT);
        svn.copied().ok_or_else(|| Error::Unavailable("the report is not one of SGX".into()))
    }
}

impl Platform for Gramine {
    fn seal_key(&self, svn: Option<Svn>) -> Result<Option<SealKey>, Error> {
        let present = self.svn()?;
        if svn.is_some_and(|svn| svn != present) {
            let reason =
                "Gramine gives no sealing key of an earlier security version: get the node's key from a standby";
            return Err(Error::Unavailable(reason.into()));
        }
        let key = Zeroizing::new(self.read(SEAL_KEY)?);
        if key.len() != 16 {
            return Err(Error::Unavailable("the sealing key has not 128 bits".into()));
        }
        let wide = Sha256::new().chain_update(b"crust/gramine-seal/v1").chain_update(&*key).finalize();
        Ok(Some(SealKey::new(present, wide.into())))
    }

    fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, Error> {
        let _asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        self.write("user_report_data", report_data)?;
        self.read("quote")
    }

    fn collateral(&self) -> Result<Option<Collateral>, Error> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pseudo-files as plain ones.
    fn device() -> (tempfile::TempDir, Gramine) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("keys")).unwrap();
        let mut report = vec![0; REPORT];
        report[..16].copy_from_slice(&[3; 16]);
        for (name, bytes) in [
            ("my_target_info", vec![5; 512]),
            ("report", report),
            ("quote", b"a quote".to_vec()),
            (SEAL_KEY, vec![9; 16]),
        ] {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let gramine = Gramine::at(dir.path());
        (dir, gramine)
    }

    #[test]
    fn it_asks_as_gramine_wants_to_be_asked() {
        let (dir, gramine) = device();
        assert_eq!(gramine.quote(&[7; 64]).unwrap(), b"a quote");
        assert_eq!(fs::read(dir.path().join("user_report_data")).unwrap(), [7; 64]);
        let key = gramine.seal_key(None).unwrap().unwrap();
        assert_eq!(key.svn(), [3; 16]);
        assert_eq!(fs::read(dir.path().join("target_info")).unwrap(), [5; 512]);
        let again = gramine.seal_key(Some([3; 16])).unwrap().unwrap();
        assert_eq!(key.as_bytes(), again.as_bytes());
        assert_ne!(key.as_bytes()[..16], [9; 16]);
        assert!(gramine.collateral().unwrap().is_none());
    }

    #[test]
    fn what_is_missing_or_of_another_form_is_said() {
        let (dir, gramine) = device();
        let refused = |svn| gramine.seal_key(svn).map(|_| ()).unwrap_err().to_string();
        assert!(refused(Some([2; 16])).contains("standby"), "a microcode update");
        fs::write(dir.path().join(SEAL_KEY), [9; 15]).unwrap();
        assert!(refused(None).contains("128 bits"));
        fs::write(dir.path().join("report"), [0; 100]).unwrap();
        assert!(refused(None).contains("not one of SGX"));
        let nowhere = Gramine::at(&dir.path().join("nowhere"));
        assert!(nowhere.quote(&[0; 64]).unwrap_err().to_string().contains("nowhere/user_report_data"));
    }

    #[test]
    fn a_release_build_knows_one_device() {
        assert_eq!(Gramine::here().device, Path::new("/dev/attestation"));
    }
}
