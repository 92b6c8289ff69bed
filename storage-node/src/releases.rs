//! Signed release files: what says of an enclave that its makers stand behind it. They come with each release; the
//! operator keeps those of the enclaves that he runs in one directory (`releases` of the configuration). The daemon
//! only passes them on: it is the enclaves that verify them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use codec::DecodeAll;
use crust_enclave::{release::SignedRelease, rpc::About};
use crust_protocol::attestation::Measurement;

/// How the files' names end.
const SUFFIX: &str = "release";

/// Why there is no release file for an enclave.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("to hand a key over, set `releases` in the configuration to the directory of the signed release files")]
    NoDirectory,
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is no release file; take it out of the directory, or put back the one that was published")]
    Malformed(PathBuf),
    #[error(
        "{directory} has no file of release {number} with the measurement 0x{}: put there the release file that was \
         published with that enclave", hex::encode(.measurement)
    )]
    Missing { directory: PathBuf, number: u32, measurement: [u8; 32] },
}

/// The file of the release that an enclave says it is. A wrong word of it is found out: the other enclave compares the
/// file with the evidence.
pub fn find(directory: Option<&Path>, about: &About) -> Result<SignedRelease, Error> {
    let directory = directory.ok_or(Error::NoDirectory)?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    for entry in fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        if path.extension().is_none_or(|extension| extension != SUFFIX) {
            continue;
        }
        let bytes = fs::read(&path).map_err(failed(&path))?;
        let signed = SignedRelease::decode_all(&mut bytes.as_slice()).map_err(|_| Error::Malformed(path))?;
        if signed.release.number == about.release && is_of(&signed.release.measurement, &about.measurement) {
            return Ok(signed);
        }
    }
    let (number, measurement) = (about.release, about.measurement);
    Err(Error::Missing { directory: directory.to_owned(), number, measurement })
}

/// Whether a measurement is that of the program with this MRENCLAVE, or of the guest with this image.
fn is_of(measurement: &Measurement, measured: &[u8; 32]) -> bool {
    match measurement {
        Measurement::Sgx { mr_enclave, .. } => mr_enclave == measured,
        Measurement::Tdx { image, .. } => image == measured,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use codec::Encode;
    use crust_enclave_dev::release;

    use super::*;

    fn about(number: u32) -> About {
        let measurement = release::mr_enclave(number);
        About { protocol: 1, release: number, measurement, development: true, commit: String::new() }
    }

    #[test]
    fn the_file_of_an_enclave_is_found_among_others() {
        let dir = tempfile::tempdir().unwrap();
        let find = |number| find(Some(dir.path()), &about(number));
        assert!(matches!(super::find(None, &about(1)), Err(Error::NoDirectory)));
        assert!(matches!(find(1), Err(Error::Missing { number: 1, .. })));
        for number in [1, 2, 3] {
            let signed = release::signed(number).unwrap();
            fs::write(dir.path().join(format!("{number}.release")), signed.encode()).unwrap();
        }
        fs::write(dir.path().join("README"), "no release").unwrap();
        assert_eq!(find(2).unwrap(), release::signed(2).unwrap());
        // Of that number, and another program.
        let other = About { measurement: release::mr_enclave(3), ..about(2) };
        assert!(matches!(super::find(Some(dir.path()), &other), Err(Error::Missing { number: 2, .. })));
        fs::write(dir.path().join("4.release"), release::signed(4).unwrap().encode().split_last().unwrap().1).unwrap();
        assert!(matches!(find(4), Err(Error::Malformed(_))));
    }
}
