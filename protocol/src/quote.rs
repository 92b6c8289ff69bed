//! What an Intel quote says: the program that it measures, the mode in which it runs, and the bytes that the program
//! bound to it.
//!
//! These stand at fixed places in both forms that evidence may have (SGX DCAP quote format 3 for enclaves, 4 for TDX 1.0
//! guests), under the signature. Whether a quote is genuine is for a verifier to say, on the chain and in an enclave;
//! what it says is read here, for both of them and for whoever wants to know a measurement.

use codec::{Decode, Encode};

use crate::{
    Hash,
    attestation::{Measurement, SGX_DEBUG, tdx_image},
};

const TEE_SGX: u32 = 0x00;
const TEE_TDX: u32 = 0x81;
/// TDX: bits of the first byte of the attributes under which the host can look into the guest (debug, profiling).
const TDX_UNDER_DEBUG: u8 = 0x71;

/// What a quote says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quoted {
    pub report: Report,
    pub report_data: [u8; 64],
}

/// Why a quote cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// Shorter than its form.
    Cut,
    /// Neither an SGX quote of version 3 nor a TDX quote of version 4.
    Version,
}

/// The measured program and the mode in which it runs.
#[allow(clippy::large_enum_variant, reason = "one at a time, for the length of a call")]
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Report {
    #[codec(index = 0)]
    Sgx {
        mr_enclave: [u8; 32],
        mr_signer: [u8; 32],
        isv_prod_id: u16,
        isv_svn: u16,
        attributes: [u8; 16],
        misc_select: u32,
    },
    #[codec(index = 1)]
    Tdx {
        mr_td: [u8; 48],
        /// RTMR0 to RTMR3.
        rtmr: [[u8; 48]; 4],
        mr_config_id: [u8; 48],
        mr_owner: [u8; 48],
        mr_owner_config: [u8; 48],
        td_attributes: [u8; 8],
        xfam: [u8; 8],
    },
}

impl Quoted {
    pub fn read(quote: &[u8]) -> Result<Self, Unreadable> {
        let mut rest = Rest(quote);
        let version = u16::from_le_bytes(rest.take()?);
        rest.skip::<2>()?;
        let tee = u32::from_le_bytes(rest.take()?);
        let read = match (version, tee) {
            (3, TEE_SGX) => Self::read_enclave,
            (4, TEE_TDX) => Self::read_guest,
            _ => return Err(Unreadable::Version),
        };
        // Versions of the quoting enclaves, their vendor, what they add.
        rest.skip::<40>()?;
        read(rest)
    }

    fn read_enclave(mut rest: Rest<'_>) -> Result<Self, Unreadable> {
        // CPUSVN.
        rest.skip::<16>()?;
        let misc_select = u32::from_le_bytes(rest.take()?);
        rest.skip::<28>()?;
        let attributes = rest.take()?;
        let mr_enclave = rest.take()?;
        rest.skip::<32>()?;
        let mr_signer = rest.take()?;
        rest.skip::<96>()?;
        let isv_prod_id = u16::from_le_bytes(rest.take()?);
        let isv_svn = u16::from_le_bytes(rest.take()?);
        rest.skip::<60>()?;
        let report = Report::Sgx { mr_enclave, mr_signer, isv_prod_id, isv_svn, attributes, misc_select };
        Ok(Quoted { report, report_data: rest.take()? })
    }

    fn read_guest(mut rest: Rest<'_>) -> Result<Self, Unreadable> {
        // The TDX module: its version, measurement, signer and attributes.
        rest.skip::<120>()?;
        let (td_attributes, xfam) = (rest.take()?, rest.take()?);
        let (mr_td, mr_config_id, mr_owner, mr_owner_config) = (rest.take()?, rest.take()?, rest.take()?, rest.take()?);
        let rtmr = [rest.take()?, rest.take()?, rest.take()?, rest.take()?];
        let report = Report::Tdx { mr_td, rtmr, mr_config_id, mr_owner, mr_owner_config, td_attributes, xfam };
        Ok(Quoted { report, report_data: rest.take()? })
    }
}

/// What of a quote was not read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Unreadable::Cut)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn skip<const N: usize>(&mut self) -> Result<(), Unreadable> {
        self.take::<N>().map(|_| ())
    }
}

impl Report {
    /// Whether the host can read the memory of what was measured.
    pub fn is_debug(&self) -> bool {
        match self {
            Report::Sgx { attributes: [first, ..], .. } => first & SGX_DEBUG != 0,
            Report::Tdx { td_attributes: [first, ..], .. } => first & TDX_UNDER_DEBUG != 0,
        }
    }

    /// What stands for the program: MRENCLAVE, or the hash of a guest's image.
    pub fn program(&self) -> Hash {
        match self {
            Report::Sgx { mr_enclave, .. } => *mr_enclave,
            Report::Tdx { mr_td, rtmr: [_, rtmr1, rtmr2, rtmr3], mr_config_id, mr_owner, mr_owner_config, .. } => {
                tdx_image([mr_td, rtmr1, rtmr2, rtmr3, mr_config_id, mr_owner, mr_owner_config])
            }
        }
    }

    /// Whether this is what was approved.
    pub fn is(&self, approved: &Measurement) -> bool {
        match (self, approved) {
            (
                Report::Sgx { mr_enclave, isv_prod_id, attributes, misc_select, .. },
                Measurement::Sgx {
                    mr_enclave: approved,
                    isv_prod_id: product,
                    attributes: mode,
                    attributes_mask,
                    misc_select: misc,
                    misc_mask,
                },
            ) => {
                let same_mode =
                    attributes.iter().zip(mode).zip(attributes_mask).all(|((a, b), mask)| (a ^ b) & mask == 0);
                mr_enclave == approved && isv_prod_id == product && same_mode && (misc_select ^ misc) & misc_mask == 0
            }
            (Report::Tdx { rtmr: [machine, ..], .. }, Measurement::Tdx { image, machine: shapes }) => {
                self.program() == *image && shapes.contains(machine)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SGX: &[u8] = include_bytes!("../../chain/evidence/tests/data/sgx_quote");
    const TDX: &[u8] = include_bytes!("../../chain/evidence/tests/data/tdx_quote");

    /// Quotes that Intel's hardware signed; `crust-evidence` compares the same with what the verifier reads.
    #[test]
    fn fields_stand_where_the_vendor_put_them() {
        let enclave = Quoted::read(SGX).unwrap();
        let Report::Sgx { mr_enclave, isv_prod_id, isv_svn, attributes, misc_select, .. } = enclave.report else {
            panic!("an enclave")
        };
        assert_eq!(mr_enclave, SGX[48 + 64..48 + 96]);
        assert_eq!((isv_prod_id, isv_svn, misc_select), (0, 0, 0));
        assert_eq!(attributes, SGX[48 + 48..48 + 64]);
        assert_eq!(enclave.report_data, SGX[48 + 320..48 + 384]);

        let guest = Quoted::read(TDX).unwrap();
        let Report::Tdx { mr_td, rtmr, td_attributes, .. } = &guest.report else { panic!("a guest") };
        assert_eq!(mr_td, &TDX[48 + 136..48 + 184]);
        assert_eq!(rtmr.as_flattened(), &TDX[48 + 328..48 + 520]);
        assert_eq!(td_attributes, &TDX[48 + 120..48 + 128]);
        assert_eq!(guest.report_data, TDX[48 + 520..48 + 584]);
    }

    #[test]
    fn a_cut_quote_and_another_version_are_told_apart() {
        for (quote, length) in [(SGX, 48 + 384), (TDX, 48 + 584)] {
            assert!(Quoted::read(&quote[..length]).is_ok());
            for end in (0..48).chain([length - 1]) {
                assert_eq!(Quoted::read(&quote[..end]), Err(Unreadable::Cut), "{end} bytes");
            }
            for (at, byte) in [(0, 5), (0, 0), (1, 1), (4, 0x82), (7, 1)] {
                let mut other = quote.to_vec();
                other[at] = byte;
                assert_eq!(Quoted::read(&other), Err(Unreadable::Version), "byte {at}");
            }
        }
    }
}
