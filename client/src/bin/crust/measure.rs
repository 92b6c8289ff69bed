//! `crust measure`: the measurement by which a chain and release keys know an enclave's program, out of a quote or of
//! what a guest's image extends its registers with.

use std::{fs, path::PathBuf};

use anyhow::Context;
use codec::Encode;
use crust_protocol::{
    attestation::{Measurement, tdx_image},
    quote::{Quoted, Report, Unreadable},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha384};

use crate::{Misuse, output};

/// A register of a TDX guest.
type Register = [u8; 48];

/// Says which program a quote is of, or a guest's image will be
#[derive(clap::Subcommand)]
#[command(after_help = "Examples:
  crust measure quote quote.bin
  crust measure guest --mrtd 0x9f… --event 1:0x3c… --event 2:0xa0… --event 2:0x51…")]
pub enum Command {
    Quote(OfQuote),
    Guest(OfGuest),
}

/// Reads a quote, and verifies nothing of it
///
/// An Intel quote of version 3 (SGX) or 4 (TDX) in binary form, as a machine makes it. `measurement` is what
/// `approve_measurement` takes for exactly this program in exactly this mode, on this shape of machine.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust measure quote quote.bin --json")]
pub struct OfQuote {
    /// The quote
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Computes the measurement of a TDX guest before it has ever run
///
/// Registers begin as zeros; every event replaces one by the SHA-384 of the register and the event's digest, in the order
/// in which the events are given. docs/operate/tee.md says which events an image makes.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust measure guest --mrtd 0x9f… --event 1:0x3c… --event 2:0xa0…")]
pub struct OfGuest {
    /// MRTD: of the firmware
    #[arg(long, value_name = "HEX", value_parser = register)]
    mrtd: Register,
    /// The number of a register, 1 to 3, and the digest that it is extended by
    #[arg(long, value_name = "REGISTER:HEX", value_parser = event)]
    event: Vec<(u8, Register)>,
    /// MRCONFIGID, if the host sets one
    #[arg(long, value_name = "HEX", value_parser = register, default_value = ZEROS)]
    mrconfigid: Register,
    /// MROWNER, if the host sets one
    #[arg(long, value_name = "HEX", value_parser = register, default_value = ZEROS)]
    mrowner: Register,
    /// MROWNERCONFIG, if the host sets one
    #[arg(long, value_name = "HEX", value_parser = register, default_value = ZEROS)]
    mrownerconfig: Register,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const ZEROS: &str = "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";

pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Quote(args) => of_quote(args),
        Command::Guest(args) => of_guest(args),
    }
}

fn of_quote(args: OfQuote) -> anyhow::Result<()> {
    let path = args.path.display();
    let quote = fs::read(&args.path).with_context(|| format!("{path} cannot be read"))?;
    let Quoted { report, report_data } = Quoted::read(&quote).map_err(|unreadable| match unreadable {
        Unreadable::Cut => Misuse(format!("{path} is too short for a quote: give it in binary form, whole")),
        Unreadable::Version => Misuse(format!("{path} is no quote of version 3 for SGX or 4 for TDX")),
    })?;
    let of_the_kind = match &report {
        Report::Sgx { isv_prod_id, isv_svn, attributes, misc_select, mr_signer, .. } => json!({
            "kind": "SGX enclave",
            "product": isv_prod_id,
            "isv_svn": isv_svn,
            "attributes": output::hex(attributes),
            "misc_select": misc_select,
            "signer": output::hex(mr_signer),
        }),
        Report::Tdx { mr_td, rtmr, mr_config_id, mr_owner, mr_owner_config, td_attributes, xfam } => json!({
            "kind": "TDX guest",
            "mrtd": output::hex(mr_td),
            "rtmr": rtmr.iter().map(|register| output::hex(register)).collect::<Vec<_>>(),
            "mrconfigid": output::hex(mr_config_id),
            "mrowner": output::hex(mr_owner),
            "mrownerconfig": output::hex(mr_owner_config),
            "attributes": output::hex(td_attributes),
            "xfam": output::hex(xfam),
        }),
    };
    let mut said = json!({
        "program": output::hex(&report.program()),
        "measurement": output::hex(&measurement(&report)?.encode()),
        "debug": report.is_debug(),
        "report_data": output::hex(&report_data),
    });
    if let (Value::Object(said), Value::Object(more)) = (&mut said, of_the_kind) {
        said.extend(more);
    }
    show(&said, args.json)
}

fn of_guest(args: OfGuest) -> anyhow::Result<()> {
    let mut rtmr = [[0; 48]; 3];
    for (number, digest) in &args.event {
        let register = number.checked_sub(1).and_then(|at| rtmr.get_mut(usize::from(at)));
        let register = register.context("a register has a number from 1 to 3")?;
        *register = Sha384::new().chain_update(*register).chain_update(digest).finalize().into();
    }
    let [rtmr1, rtmr2, rtmr3] = &rtmr;
    let program = tdx_image([&args.mrtd, rtmr1, rtmr2, rtmr3, &args.mrconfigid, &args.mrowner, &args.mrownerconfig]);
    let said = json!({
        "kind": "TDX guest",
        "rtmr1": output::hex(rtmr1),
        "rtmr2": output::hex(rtmr2),
        "rtmr3": output::hex(rtmr3),
        "program": output::hex(&program),
    });
    show(&said, args.json)
}

/// This program in this mode, on this shape of machine.
fn measurement(report: &Report) -> anyhow::Result<Measurement> {
    Ok(match *report {
        Report::Sgx { mr_enclave, isv_prod_id, attributes, misc_select, .. } => Measurement::Sgx {
            mr_enclave,
            isv_prod_id,
            attributes,
            attributes_mask: [u8::MAX; 16],
            misc_select,
            misc_mask: u32::MAX,
        },
        Report::Tdx { rtmr: [machine, ..], .. } => {
            let machine = vec![machine].try_into().ok().context("one machine is too many")?;
            Measurement::Tdx { image: report.program(), machine }
        }
    })
}

fn show(said: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(said);
    }
    for (name, value) in said.as_object().into_iter().flatten() {
        match value {
            Value::Array(values) => {
                for (number, value) in values.iter().enumerate() {
                    output::line(format_args!("{:14} {}", format!("{name}{number}"), plain(value)))?;
                }
            }
            value => output::line(format_args!("{name:14} {}", plain(value)))?,
        }
    }
    Ok(())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn register(text: &str) -> Result<Register, String> {
    let bytes = hex::decode(text.trim_start_matches("0x")).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| "a register has 96 hexadecimal digits".into())
}

fn event(text: &str) -> Result<(u8, Register), String> {
    let (number, digest) = text.split_once(':').ok_or("write REGISTER:HEX, like 1:0x3c…")?;
    match number.parse() {
        Ok(number @ 1..=3) => Ok((number, register(digest)?)),
        _ => Err("events extend register 1, 2 or 3; register 0 is the machine's shape and is approved apart".into()),
    }
}
