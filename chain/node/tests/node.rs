//! The program as it is run: which chains it knows, one wasm for all of them, blocks, finality, stop and restart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::{
    borrow::Cow,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use codec::Decode;
use sc_executor::WasmExecutor;
use serde_json::Value;
use sp_consensus_babe::BabeConfiguration;
use sp_core::{
    storage::Storage,
    traits::{CallContext, CodeExecutor, RuntimeCode, WrappedRuntimeCode},
};
use sp_runtime::BuildStorage;

const PROGRAM: &str = env!("CARGO_BIN_EXE_crust-node");
/// `:code`.
const CODE: &[u8] = b":code";

/// A folder of its own for each test, empty at the start.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.strip_prefix("0x").unwrap();
    (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// The genesis state of a chain as the program exports it.
fn genesis(chain: &str) -> Storage {
    let output = Command::new(PROGRAM).args(["export-chain-spec", "--raw", "--chain", chain]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let specification: Value = serde_json::from_slice(&output.stdout).unwrap();
    let top = specification["genesis"]["raw"]["top"].as_object().unwrap();
    let top = top.iter().map(|(key, value)| (hex(key), hex(value.as_str().unwrap()))).collect();
    Storage { top, children_default: Default::default() }
}

fn babe(genesis: &Storage) -> BabeConfiguration {
    type HostFunctions = (sp_io::SubstrateHostFunctions, crust_evidence::HostFunctions);
    let executor = WasmExecutor::<HostFunctions>::builder().build();
    let code = WrappedRuntimeCode(Cow::Borrowed(&genesis.top[CODE]));
    let runtime = RuntimeCode { code_fetcher: &code, heap_pages: None, hash: vec![0] };
    let mut state = sp_io::TestExternalities::new(genesis.clone());
    let (answer, _) = executor.call(&mut state.ext(), &runtime, "BabeApi_configuration", &[], CallContext::Offchain);
    let answer = answer.expect("the wasm answers");
    BabeConfiguration::decode(&mut &answer[..]).unwrap()
}

/// What the wasm makes of a preset is what a node starts from, which builds it natively.
#[test]
fn a_genesis_is_the_same_built_natively_and_in_wasm() {
    for name in crust_runtime::presets::names() {
        let mut native = crust_runtime::presets::genesis(&name).unwrap().config().build_storage().unwrap();
        let exported = genesis(&name);
        native.top.insert(CODE.to_vec(), exported.top[CODE].clone());
        assert!(native.top == exported.top, "{name}");
    }
}

#[test]
fn one_wasm_serves_development_and_production_numbers() {
    let (dev, local) = (genesis("dev"), genesis("local"));
    assert!(dev.top[CODE] == local.top[CODE]);
    let (dev, local) = (babe(&dev), babe(&local));
    assert_eq!((dev.slot_duration, dev.epoch_length, dev.authorities.len()), (1_000, 60, 1));
    assert_eq!((local.slot_duration, local.epoch_length, local.authorities.len()), (6_000, 600, 4));
}

#[test]
fn the_version_names_the_commit_and_unknown_chains_are_refused() {
    let output = Command::new(PROGRAM).arg("--version").output().unwrap();
    let version = String::from_utf8(output.stdout).unwrap();
    assert!(version.contains(&format!("{}-", env!("CARGO_PKG_VERSION"))), "{version}");
    for (arguments, reason) in
        [(&["--tmp"][..], "no chain named"), (&["--tmp", "--chain", "/nowhere/chain.json"][..], "/nowhere/chain.json")]
    {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        assert!(!output.status.success());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (flag, others) in [
        ("--rpc-port", ["--no-prometheus", "--port=0"]),
        ("--port", ["--no-prometheus", "--rpc-port=0"]),
        ("--prometheus-port", ["--port=0", "--rpc-port=0"]),
    ] {
        let node = Command::new(PROGRAM)
            .args(["--chain", "dev", "--alice", "--tmp", flag, &port])
            .args(others)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let ended = end(node, Duration::from_secs(60));
        let (status, message) = ended.unwrap_or_else(|| panic!("it runs, with {flag} in use"));
        assert!(!status.success());
        assert!(message.contains(&format!("127.0.0.1:{port}")) && message.contains(flag), "{message}");
    }
}

/// How a process ends and what it says until then on stderr; `None` if it is ended for taking too long.
fn end(mut process: Child, patience: Duration) -> Option<(ExitStatus, String)> {
    let mut stderr = process.stderr.take().unwrap();
    let (sender, said) = channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        // Nobody listens any more after a time-out.
        let _ = sender.send(text);
    });
    let said = said.recv_timeout(patience).ok();
    if said.is_none() {
        process.kill().unwrap();
    }
    let status = process.wait().unwrap();
    said.map(|said| (status, said))
}

/// A running node; killed if a test fails.
struct Node {
    process: Child,
    lines: Receiver<String>,
}

impl Node {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(PROGRAM)
            .args(["--chain", "dev", "--alice", "--rpc-port", "0", "--port", "0", "--no-prometheus", "--base-path"])
            .arg(folder)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr: ChildStderr = process.stderr.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { process, lines }
    }

    /// Reads the log until it tells of a finalized block of at least this number; returns the number.
    fn wait_for_finalized(&self, number: u32) -> u32 {
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut log = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no block {number} was finalized:\n{}", log.join("\n"))
            };
            let found = line.split("finalized #").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
            match found {
                Some(found) if found >= number => return found,
                _ => log.push(line),
            }
        }
    }

    /// SIGTERM, and the exit status.
    fn stop(mut self) -> bool {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.process.wait().unwrap().success()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn one_validator_finalizes_stops_cleanly_and_goes_on_where_it_was() {
    let folder = folder("one_validator");
    let node = Node::start(&folder);
    let before = node.wait_for_finalized(2);
    assert!(node.stop(), "a node stops cleanly on SIGTERM");
    let node = Node::start(&folder);
    assert!(node.wait_for_finalized(before + 2) > before);
    assert!(node.stop());
}
