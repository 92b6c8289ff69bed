//! The figures of a row: printed as they are measured, and put into docs/benchmarks.md with what they were measured on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;
use rustix::fs::{major, minor};

/// One row of the document and its figures.
pub struct Table {
    row: &'static str,
    lines: Vec<String>,
    /// Load of the machine when it began.
    load: String,
}

impl Table {
    pub fn new(row: &'static str) -> Table {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Table { row, lines: Vec::new(), load: load.split(' ').next().unwrap_or_default().to_owned() }
    }

    /// A figure, and the bar that it is held to.
    pub fn add(&mut self, what: impl AsRef<str>, figure: impl AsRef<str>, bar: &str) {
        let (what, figure) = (what.as_ref(), figure.as_ref());
        println!("{what:<70} {figure:<46} {bar}");
        self.lines.push(format!("| {what} | {figure} | {bar} |\n"));
    }

    /// Puts the figures between the row's marks.
    pub fn write(self) -> anyhow::Result<()> {
        let path = root().join("docs/benchmarks.md");
        let text = fs::read_to_string(&path)?;
        let mark = format!("<!-- {} -->\n", self.row);
        let (head, rest) = text.split_once(&mark).with_context(|| format!("no mark {mark:?} in {}", path.display()))?;
        let (_, tail) = rest.split_once("<!-- end -->").context("no mark `end`")?;
        let made = format!("`make bench ROW={}`, {}, {}, load before {}.", self.row, today(), machine(), self.load);
        let table = self.lines.concat();
        let table = format!("{made}\n\n| What | Measured | Bar |\n|---|---|---|\n{table}");
        Ok(fs::write(&path, format!("{head}{mark}{table}<!-- end -->{tail}"))?)
    }
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn today() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Processor, cores, memory and disk.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| -> Option<String> {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "an unknown processor".into());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kib: u64 = memory.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default();
    format!("{model}, {cores} cores, {} GiB of memory, {}", kib.div_ceil(1 << 20), disk())
}

/// What kind of disk temporary files lie on.
fn disk() -> String {
    let Ok(stat) = rustix::fs::stat(std::env::temp_dir()) else { return "an unknown disk".into() };
    let device = PathBuf::from(format!("/sys/dev/block/{}:{}", major(stat.st_dev), minor(stat.st_dev)));
    let device = fs::canonicalize(&device).unwrap_or(device);
    let whole = [device.as_path(), device.parent().unwrap_or(Path::new("/"))];
    let queue = whole.iter().find(|path| path.join("queue").is_dir());
    let Some(device) = queue else { return "a file system without a disk of its own".into() };
    let rotates = fs::read_to_string(device.join("queue/rotational")).unwrap_or_default();
    let virtual_disk = device.to_string_lossy().contains("virtio");
    match (virtual_disk, rotates.trim()) {
        (true, _) => "a virtual disk (virtio)".into(),
        (false, "0") => "a solid-state disk".into(),
        (false, _) => "a spinning disk".into(),
    }
}
