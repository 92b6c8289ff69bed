//! `crust-release`: makes the signed release files by which enclaves know which programs may take over a node's key.
//!
//! For those who make releases: one begins the file, every holder of a release key adds a signature, anybody verifies.
//! It knows the published development key, and no other one by itself.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use codec::{DecodeAll, Encode};
use crust_enclave::{
    Constants,
    release::{DEVELOPMENT_SEED, Release, SignedRelease},
};
use crust_enclave_dev::release::{add_signature, measurement};
use crust_protocol::attestation::Measurement;

/// Makes and verifies signed release files
#[derive(Parser)]
#[command(
    name = "crust-release",
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  crust-release new 2 --measurement 0x00… -o 2.release
  crust-release sign 2.release --key 0 --seed-file release-key.seed
  crust-release verify 2.release
  crust-release new 2 --development -o 2.release"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Begins the file of a release, without signatures
    New {
        /// The release's number, higher than that of every release before it
        number: u32,
        /// Its measurement as the chain approves it: SCALE, in hexadecimal
        #[arg(long, value_name = "HEX", required_unless_present = "development")]
        measurement: Option<String>,
        /// The development enclave of that number, signed with the published key
        #[arg(long, conflicts_with = "measurement")]
        development: bool,
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Adds a signature
    Sign {
        file: PathBuf,
        /// The number of the key in the list of the measured code
        #[arg(long)]
        key: u8,
        /// File with the key's Ed25519 seed, 32 bytes
        #[arg(long, value_name = "FILE")]
        seed_file: PathBuf,
    },
    /// Shows a release, and whether enough of the release keys have signed it
    Verify {
        file: PathBuf,
        /// By the published development key instead of the production keys
        #[arg(long)]
        development: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::New { number, measurement: given, development, output } => {
            let measurement = match given {
                Some(text) => read_measurement(&text)?,
                None => measurement(number),
            };
            let signatures = Vec::new().try_into().unwrap_or_default();
            let mut signed = SignedRelease { release: Release { number, measurement }, signatures };
            if development {
                add_signature(&mut signed, 0, &DEVELOPMENT_SEED).context("the release cannot be signed")?;
            }
            write(&output, &signed)
        }
        Command::Sign { file, key, seed_file } => {
            let mut signed = read(&file)?;
            let seed = fs::read(&seed_file).with_context(|| seed_file.display().to_string())?;
            let Ok(seed) = seed.try_into() else { bail!("{} is no seed of 32 bytes", seed_file.display()) };
            add_signature(&mut signed, key, &seed).context("it has as many signatures as it may have")?;
            write(&file, &signed)
        }
        Command::Verify { file, development } => {
            let signed = read(&file)?;
            let constants = if development { Constants::DEVELOPMENT } else { Constants::PRODUCTION };
            let mut out = std::io::stdout();
            writeln!(out, "release {}", signed.release.number)?;
            writeln!(out, "measurement 0x{}", hex::encode(signed.release.measurement.encode()))?;
            for (key, _) in &signed.signatures {
                writeln!(out, "signed under the number {key}")?;
            }
            signed.verify(&constants.release_keys).context("it is good for no enclave")?;
            Ok(writeln!(out, "signed by enough of the release keys")?)
        }
    }
}

fn read_measurement(text: &str) -> anyhow::Result<Measurement> {
    let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).context("a measurement is hexadecimal digits")?;
    Measurement::decode_all(&mut bytes.as_slice()).context("these digits are no measurement")
}

fn read(path: &Path) -> anyhow::Result<SignedRelease> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    SignedRelease::decode_all(&mut bytes.as_slice()).with_context(|| format!("{} is no release file", path.display()))
}

fn write(path: &Path, signed: &SignedRelease) -> anyhow::Result<()> {
    fs::write(path, signed.encode()).with_context(|| path.display().to_string())
}
