//! What the chain's calls and a whole block cost: measured by a program of the chain's workspace.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use crust_tests::bin;
use serde_json::Value;

use crate::table::Table;

/// Every call's weight, as far as a bar asks for it.
pub fn runtime(table: &mut Table) -> anyhow::Result<()> {
    figures(table, ["runtime".as_ref()])
}

/// A block of 3,000 reports over a database.
pub fn block(table: &mut Table) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    figures(table, ["block".as_ref(), folder.path().as_os_str()])
}

/// Takes over what the program measures, line by line.
fn figures<'a>(table: &mut Table, arguments: impl IntoIterator<Item = &'a OsStr>) -> anyhow::Result<()> {
    let mut program = Command::new(bin().join("crust-chain-bench")).args(arguments).stdout(Stdio::piped()).spawn()?;
    let output = program.stdout.take().context("no output")?;
    for line in BufReader::new(output).lines() {
        let figure: Value = serde_json::from_str(&line?)?;
        let text = |key: &str| figure.get(key).and_then(Value::as_str).with_context(|| format!("no {key} in {figure}"));
        table.add(text("what")?, text("figure")?, text("bar")?);
    }
    ensure!(program.wait()?.success(), "crust-chain-bench failed");
    Ok(())
}
