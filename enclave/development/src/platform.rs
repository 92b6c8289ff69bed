//! The software platform: a seed in a directory stands in for a machine. From it come the platform's id (PPID), its
//! certified key (PCK), the attestation key and the sealing key.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crust_enclave::platform::{self as enclave_platform, Platform, SealKey, Svn};
use crust_protocol::{attestation::Collateral, development};
use rcgen::{CustomExtension, SerialNumber};
use sha2::{Digest, Sha256};

use crate::authority::{self, KeyPair};
use crate::collateral::{self, CollateralOptions, FMSPC, PCE_ID};
use crate::quote::{self, Authentication, CPU_SVN, PCE_SVN, QuoteOptions};
use crate::release;

/// Name of the file that holds the seed.
const SEED_FILE: &str = "platform-seed";
/// Name of the file with the machine's security version, a number below 256; without it the version is 0. It rises as
/// with a microcode update: keys of lower versions can still be had, those of higher ones cannot.
const VERSION_FILE: &str = "security-version";
/// Authentication data of the quoting enclave: 32 bytes that are Intel's to choose.
const QE_AUTH_DATA: [u8; 32] = *b"crust development auth data     ";
/// The extension of a PCK certificate that describes the platform.
const SGX_EXTENSION: [u64; 7] = [1, 2, 840, 113741, 1, 13, 1];

/// Why a software platform cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}; the software platform keeps its seed there")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0}: not a seed of 32 bytes; restore it, or remove it to begin with a new platform")]
    Seed(PathBuf),
    #[error("{0}: not a number below 256")]
    Version(PathBuf),
    #[error("the system gave no random bytes: {0}")]
    Entropy(getrandom::Error),
    #[error(transparent)]
    Authority(#[from] authority::Error),
}

/// How a machine is run, as its certificate says. A software platform's own has none of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mode {
    /// Packages may be added to the machine.
    pub dynamic: bool,
    /// Its keys are kept by its vendor.
    pub cached_keys: bool,
    pub smt: bool,
}

/// A machine in software.
pub struct SoftwarePlatform {
    ppid: [u8; 16],
    serial: u64,
    mode: Mode,
    pck: KeyPair,
    attestation: KeyPair,
    seal_key: [u8; 32],
    version: u8,
    /// MRENCLAVE of the program that runs on it.
    mr_enclave: [u8; 32],
    /// Whether it has sealing keys.
    seals: bool,
    /// Whether it brings the vendor's collateral.
    brings: bool,
    /// PEM: PCK leaf, platform CA, root.
    chain: String,
}

impl SoftwarePlatform {
    /// The platform of a directory; a new one if the directory has none.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(SEED_FILE);
        let failed = |source| Error::Io { path: path.clone(), source };
        let seed = match fs::read(&path) {
            Ok(bytes) => bytes.try_into().map_err(|_| Error::Seed(path.clone()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(Error::Entropy)?;
                write_seed(dir, &seed).map_err(failed)?;
                seed
            }
            Err(error) => return Err(failed(error)),
        };
        let mut platform = Self::from_seed(seed)?;
        let path = dir.join(VERSION_FILE);
        match fs::read_to_string(&path) {
            Ok(version) => platform.version = version.trim().parse().map_err(|_| Error::Version(path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Io { path, source }),
        }
        Ok(platform)
    }

    /// The platform that comes of a seed: the same for the same seed.
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, Error> {
        Self::in_mode(seed, Mode::default())
    }

    /// The same, certified as run in some mode.
    pub fn in_mode(seed: [u8; 32], mode: Mode) -> Result<Self, Error> {
        let mut platform = SoftwarePlatform {
            ppid: half(&derive(&seed, "ppid")),
            serial: serial(&derive(&seed, "serial")),
            mode,
            pck: KeyPair::derive(&seed, "pck")?,
            attestation: KeyPair::derive(&seed, "attestation-key")?,
            seal_key: derive(&seed, "sealing-key"),
            version: 0,
            mr_enclave: development::MR_ENCLAVE,
            seals: true,
            brings: true,
            chain: String::new(),
        };
        platform.chain = platform.certify()?;
        Ok(platform)
    }

    /// The same machine, running another release of the development enclave: with another measurement, and so with other
    /// sealing keys.
    pub fn running(self, release: u32) -> Self {
        let mr_enclave = release::mr_enclave(release);
        let seal_key = match mr_enclave == self.mr_enclave {
            true => self.seal_key,
            false => Sha256::new().chain_update(self.seal_key).chain_update(mr_enclave).finalize().into(),
        };
        SoftwarePlatform { mr_enclave, seal_key, ..self }
    }

    /// The same machine as a guest: TDX 1.x has no sealing keys, and does not bring the vendor's collateral.
    pub fn without_sealing_keys(self) -> Self {
        SoftwarePlatform { seals: false, brings: false, ..self }
    }

    /// The same machine under Gramine: it seals, and does not bring the vendor's collateral.
    pub fn without_collateral(self) -> Self {
        SoftwarePlatform { brings: false, ..self }
    }

    /// The platform's id.
    pub fn ppid(&self) -> [u8; 16] {
        self.ppid
    }

    /// Serial number of the platform's certificate, for [`CollateralOptions::revoked`].
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// A quote of the development enclave, in the release that runs, over `report_data`.
    pub fn quote(&self, report_data: &[u8; 64]) -> Vec<u8> {
        self.quote_with(&QuoteOptions { mr_enclave: self.mr_enclave, ..QuoteOptions::default() }, report_data)
    }

    /// A quote of any enclave: what a genuine platform would say of it.
    pub fn quote_with(&self, options: &QuoteOptions, report_data: &[u8; 64]) -> Vec<u8> {
        let mut bytes = quote::signed_part(options, report_data);
        let attestation_key = self.attestation.public_point();
        let key_hash = Sha256::new().chain_update(attestation_key).chain_update(QE_AUTH_DATA).finalize().into();
        let qe_report = quote::qe_report(&key_hash);
        let authentication = Authentication {
            signature: self.attestation.sign_raw(&bytes),
            attestation_key,
            qe_report,
            qe_report_signature: self.pck.sign_raw(&qe_report),
            qe_auth_data: &QE_AUTH_DATA,
            chain: &self.chain,
        };
        authentication.append_to(&mut bytes);
        bytes
    }

    /// The collateral of all software platforms, valid around `now_secs`.
    pub fn collateral(&self, now_secs: u64) -> Result<Collateral, Error> {
        self.collateral_with(&CollateralOptions::around(now_secs))
    }

    /// Any collateral that the vendor could have published.
    pub fn collateral_with(&self, options: &CollateralOptions) -> Result<Collateral, Error> {
        Ok(collateral::make(options)?)
    }

    /// Certifies the platform's key, with the extension that describes the platform.
    fn certify(&self) -> Result<String, Error> {
        let root = authority::root()?;
        let ca = authority::platform_ca(&root)?;
        let mut params = authority::leaf_params("Crust Development PCK Certificate", self.serial)?;
        params.serial_number = Some(SerialNumber::from_slice(&self.serial.to_be_bytes()));
        params.custom_extensions.push(CustomExtension::from_oid_content(&SGX_EXTENSION, self.sgx_extension()));
        let leaf = params.signed_by(&self.pck, &ca.issuer).map_err(authority::Error::from)?;
        Ok([leaf.pem(), ca.certificate.pem(), root.certificate.pem()].concat())
    }

    /// PPID, TCB, PCE id, FMSPC, type, instance and configuration, as a sequence of (object id, value).
    fn sgx_extension(&self) -> Vec<u8> {
        let below = |tail: &[u64]| yasna::models::ObjectIdentifier::new([SGX_EXTENSION.as_slice(), tail].concat());
        yasna::construct_der(|writer| {
            writer.write_sequence(|items| {
                let mut octets = |tail: &[u64], bytes: &[u8]| {
                    items.next().write_sequence(|item| {
                        item.next().write_oid(&below(tail));
                        item.next().write_bytes(bytes);
                    });
                };
                octets(&[1], &self.ppid);
                octets(&[3], &PCE_ID);
                octets(&[4], &FMSPC);
                octets(&[6], &self.ppid);
                items.next().write_sequence(|item| {
                    item.next().write_oid(&below(&[2]));
                    item.next().write_sequence(|tcb| {
                        for (number, svn) in (1u64..).zip(CPU_SVN) {
                            tcb.next().write_sequence(|component| {
                                component.next().write_oid(&below(&[2, number]));
                                component.next().write_u8(svn);
                            });
                        }
                        tcb.next().write_sequence(|component| {
                            component.next().write_oid(&below(&[2, 17]));
                            component.next().write_u16(PCE_SVN);
                        });
                        tcb.next().write_sequence(|component| {
                            component.next().write_oid(&below(&[2, 18]));
                            component.next().write_bytes(&CPU_SVN);
                        });
                    });
                });
                items.next().write_sequence(|item| {
                    item.next().write_oid(&below(&[5]));
                    item.next().write_enum(1);
                });
                items.next().write_sequence(|item| {
                    item.next().write_oid(&below(&[7]));
                    item.next().write_sequence(|flags| {
                        let Mode { dynamic, cached_keys, smt } = self.mode;
                        for (number, set) in (1u64..).zip([dynamic, cached_keys, smt]) {
                            flags.next().write_sequence(|flag| {
                                flag.next().write_oid(&below(&[7, number]));
                                flag.next().write_bool(set);
                            });
                        }
                    });
                });
            });
        })
    }
}

impl Platform for SoftwarePlatform {
    fn seal_key(&self, svn: Option<Svn>) -> Result<Option<SealKey>, enclave_platform::Error> {
        if !self.seals {
            return Ok(None);
        }
        let mut present = Svn::default();
        if let Some(first) = present.first_mut() {
            *first = self.version;
        }
        let svn = svn.unwrap_or(present);
        if svn > present {
            return Err(enclave_platform::Error::Unavailable("its security version was higher before".into()));
        }
        let key = Sha256::new().chain_update(self.seal_key).chain_update(svn).finalize();
        Ok(Some(SealKey::new(svn, key.into())))
    }

    fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, enclave_platform::Error> {
        Ok(SoftwarePlatform::quote(self, report_data))
    }

    fn collateral(&self) -> Result<Option<Collateral>, enclave_platform::Error> {
        if !self.brings {
            return Ok(None);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let made = SoftwarePlatform::collateral(self, now);
        made.map(Some).map_err(|error| enclave_platform::Error::Unavailable(error.to_string()))
    }
}

/// Writes the seed so that a crash leaves the whole file or none.
fn write_seed(dir: &Path, seed: &[u8; 32]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::create_dir_all(dir)?;
    let part = dir.join(format!("{SEED_FILE}.part"));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(seed)?;
    file.sync_all()?;
    fs::rename(&part, dir.join(SEED_FILE))?;
    fs::File::open(dir)?.sync_all()
}

fn derive(seed: &[u8; 32], name: &str) -> [u8; 32] {
    Sha256::new().chain_update(b"crust/software-platform/v1/").chain_update(seed).chain_update(name).finalize().into()
}

fn half(bytes: &[u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(bytes) {
        *to = *from;
    }
    half
}

/// A positive serial number.
fn serial(bytes: &[u8; 32]) -> u64 {
    bytes.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte)) >> 1 | 1 << 62
}

#[cfg(test)]
#[path = "platform_tests.rs"]
mod tests;
