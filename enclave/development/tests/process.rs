//! The enclave as a process: its socket, its evidence, and what it is after `kill -9`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crust_enclave::rpc::{self, Error, Request, Response, Saying};
use crust_protocol::{
    Key, attestation,
    file::{Cid, Codec, HashFunction},
    order::Content,
    statement::first_root,
};

struct Process(Child);

impl Process {
    fn start(dir: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crust-enclave-dev"));
        command.arg("--socket").arg(dir.join("enclave.sock")).arg("--platform").arg(dir.join("platform"));
        Process(command.stderr(Stdio::null()).spawn().unwrap())
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Connects as soon as there is someone to answer.
fn connect(dir: &Path) -> UnixStream {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match UnixStream::connect(dir.join("enclave.sock")) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    }
}

fn ask(stream: &mut UnixStream, request: Request) -> Response {
    rpc::write_frame(stream, &request).unwrap();
    let mut body = Vec::new();
    assert!(rpc::read_frame(stream, &mut body).unwrap());
    rpc::decode(&body).unwrap()
}

fn items(response: Response) -> Vec<Vec<u8>> {
    match response {
        Response::Items { items } | Response::Signed { items, .. } | Response::Opened { items, .. } => items,
        other => panic!("{other:?}"),
    }
}

const OPEN: Request = Request::Open { genesis: [1; 32], provider: [2; 32] };

fn opened(response: &Response) -> (Key, Key) {
    let Response::Opened { sign_pk, channel_pk, .. } = response else { panic!("{response:?}") };
    (*sign_pk, *channel_pk)
}

#[test]
fn a_killed_enclave_comes_back_with_all_that_it_said() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let mut stream = connect(dir.path());
    let Response::Hello(about) = ask(&mut stream, Request::Hello) else { panic!() };
    assert!(about.development);
    assert_eq!(ask(&mut stream, Request::State), Response::Error(Error::NotOpen));
    let first = ask(&mut stream, OPEN);
    let keys = opened(&first);
    let mut log = items(first);

    let plain = vec![7; 300_000];
    let content = Content {
        client: [3; 32],
        nonce: 1,
        cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, &plain),
        size: 300_000,
        audit_root: *blake3::hash(&plain).as_bytes(),
        flags: 0,
    };
    let order = content.id();
    assert_eq!(ask(&mut stream, Request::SealBegin { content: content.clone() }), Response::Done);
    let Response::SealOut { mut sealed, .. } = ask(&mut stream, Request::SealBlock { bytes: plain.clone() }) else {
        panic!()
    };
    process.kill();

    // The file in work is gone, and is sealed anew.
    let process = Process::start(dir.path());
    let mut stream = connect(dir.path());
    assert_eq!(ask(&mut stream, Request::Load { items: log.clone() }), Response::Done);
    assert_eq!(opened(&ask(&mut stream, OPEN)), keys);
    assert_eq!(ask(&mut stream, Request::SealEnd), Response::Error(Error::NoSealing));
    ask(&mut stream, Request::SealBegin { content });
    let Response::SealOut { sealed: again, .. } = ask(&mut stream, Request::SealBlock { bytes: plain.clone() }) else {
        panic!()
    };
    assert!(again != sealed, "the same bytes are not emitted twice");
    sealed = again;
    let Response::SealOut { sealed: rest, .. } = ask(&mut stream, Request::SealEnd) else { panic!() };
    sealed.extend(rest);
    log.extend(items(ask(&mut stream, Request::SealCommit { disk: [1; 16] })));
    let statement = Saying::Receipts { prev: first_root(&keys.0), orders: vec![order] };
    let Response::Signed { items, statement } = ask(&mut stream, Request::Sign { statement }) else { panic!() };
    log.extend(items);
    process.kill();

    // What was said and not yet signed can be signed; the file opens.
    let _process = Process::start(dir.path());
    let mut stream = connect(dir.path());
    ask(&mut stream, Request::Load { items: log });
    assert_eq!(opened(&ask(&mut stream, OPEN)), keys);
    let rpc::Signed::Receipts(receipts) = statement else { panic!() };
    assert!(matches!(ask(&mut stream, Request::Release { root: receipts.root }), Response::Signature { .. }));
    let read = Request::Read { order, chunk: 0, sealed };
    assert_eq!(ask(&mut stream, read), Response::Plain { bytes: plain });
}

#[test]
fn its_evidence_names_chain_provider_keys_and_block() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let mut stream = connect(dir.path());
    let (sign_pk, channel_pk) = opened(&ask(&mut stream, OPEN));
    let Response::Evidence { quote, collateral } = ask(&mut stream, Request::Evidence { block_hash: [9; 32] }) else {
        panic!()
    };
    assert!(collateral.is_some());
    let identity =
        attestation::Identity { genesis: [1; 32], provider: [2; 32], sign_pk, channel_pk, block_hash: [9; 32] };
    let report_data = identity.report_data();
    assert_eq!(&quote[48 + 320..48 + 384], report_data, "the last field of the report");
}

#[test]
fn it_stops_with_whoever_started_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_crust-enclave-dev"));
    command.arg("--socket").arg(dir.path().join("enclave.sock")).arg("--platform").arg(dir.path().join("platform"));
    let mut child = command.arg("--exit-with-stdin").stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let _stream = connect(dir.path());
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
