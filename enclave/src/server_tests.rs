//! The server over real sockets and over random bytes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::{
    Constants,
    platform::{self, Platform, SealKey, Svn},
    seal::{CHUNK, SEALED_CHUNK},
};
use codec::Encode;
use crust_protocol::{
    attestation::Collateral,
    file::{Cid, Codec, HashFunction},
    order::Content,
};
use proptest::prelude::*;
use rpc::{Sample, Saying};
use std::{
    collections::VecDeque,
    os::unix::{fs::MetadataExt, net::UnixStream},
};

struct TestPlatform;

impl Platform for TestPlatform {
    fn seal_key(&self, svn: Option<Svn>) -> Result<Option<SealKey>, platform::Error> {
        Ok(Some(SealKey::new(svn.unwrap_or_default(), [7; 32])))
    }

    fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, platform::Error> {
        Ok(report_data.to_vec())
    }

    fn collateral(&self) -> Result<Option<Collateral>, platform::Error> {
        Ok(None)
    }
}

fn server() -> Arc<Server> {
    let about = About {
        protocol: rpc::PROTOCOL,
        release: 1,
        measurement: [1; 32],
        development: true,
        commit: "a commit".into(),
    };
    Server::new(about, Enclave::new(Arc::new(TestPlatform), Constants::DEVELOPMENT))
}

/// A stream that was written beforehand, and what is answered.
struct Tape {
    input: VecDeque<u8>,
    output: Vec<u8>,
}

impl Tape {
    fn of(bytes: impl IntoIterator<Item = u8>) -> Self {
        Tape { input: bytes.into_iter().collect(), output: Vec::new() }
    }

    fn answers(&self) -> Vec<Response> {
        let (mut rest, mut body, mut answers) = (&self.output[..], Vec::new(), Vec::new());
        while rpc::read_frame(&mut rest, &mut body).unwrap() {
            answers.push(rpc::decode(&body).unwrap());
        }
        answers
    }
}

impl Read for Tape {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl Write for Tape {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(server: &Server) -> Vec<Vec<u8>> {
    let request = Request::Open { genesis: [1; 32], provider: [2; 32] };
    match &ask(server, &[request])[0] {
        Response::Opened { items, .. } => items.clone(),
        other => panic!("{other:?}"),
    }
}

/// All requests at once on one connection.
fn ask(server: &Server, requests: &[Request]) -> Vec<Response> {
    let mut tape = Tape::of(requests.iter().flat_map(|request| rpc::encode(request).unwrap()));
    server.serve(&mut tape).unwrap();
    tape.answers()
}

fn content(bytes: &[u8]) -> Content {
    Content {
        client: [3; 32],
        nonce: 1,
        cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, bytes),
        size: bytes.len() as u64,
        audit_root: *blake3::hash(bytes).as_bytes(),
        flags: 0,
    }
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let server = server();
    open(&server);
    let plain = vec![5; CHUNK * 2];
    let content = content(&plain);
    let order = content.id();
    let answers = ask(
        &server,
        &[
            Request::Hello,
            Request::SealCommit { disk: [1; 16] },
            Request::SealBegin { content: content.clone() },
            Request::SealBlock { bytes: vec![1] },
            Request::SealBlock { bytes: plain.clone() },
            Request::SealEnd,
            Request::SealBlock { bytes: plain.clone() },
            Request::SealCommit { disk: [1; 16] },
            Request::SealCommit { disk: [1; 16] },
            Request::Files { after: None, limit: 10 },
            Request::SealBegin { content: content.clone() },
        ],
    );
    assert!(matches!(answers[0], Response::Hello(_)));
    assert_eq!(answers[1], Response::Error(Error::NoSealing));
    assert_eq!(answers[2], Response::Done);
    assert!(matches!(answers[3], Response::Error(Error::Graph(_))));
    let Response::SealOut { sealed, .. } = &answers[4] else { panic!() };
    assert_eq!(sealed.len(), 2 * SEALED_CHUNK);
    let Response::SealOut { sealed: rest, tree } = &answers[5] else { panic!() };
    assert_eq!((rest.len(), tree.len() as u64), (0, crate::tree::length(content.size)));
    assert_eq!(answers[6], Response::Error(Error::NoSealing));
    assert!(matches!(&answers[7], Response::Items { items } if items.len() == 1));
    assert_eq!(answers[8], Response::Error(Error::NoSealing));
    assert!(matches!(&answers[9], Response::Files { files } if files[0].order == order && files[0].chunks == 2));
    assert_eq!(answers[10], Response::Error(Error::AlreadySealed { order }));
    let read = Request::Read { order, chunk: 1, sealed: sealed[SEALED_CHUNK..].to_vec() };
    assert_eq!(ask(&server, &[read]), vec![Response::Plain { bytes: plain[CHUNK..].to_vec() }]);
}

#[test]
fn a_sealing_survives_a_check_that_began_meanwhile() {
    let server = server();
    open(&server);
    let plain = vec![5; 10];
    let answers = ask(
        &server,
        &[
            Request::SealBegin { content: content(&plain) },
            Request::SealBlock { bytes: plain },
            Request::SealEnd,
            Request::Show { slot: 1, slot_hash: [1; 32] },
            Request::SealCommit { disk: [1; 16] },
            Request::Samples { bytes: Vec::new() },
            Request::SealCommit { disk: [1; 16] },
        ],
    );
    assert_eq!(answers[4], Response::Error(Error::Checking));
    assert!(matches!(answers[6], Response::Items { .. }));
}

#[test]
fn several_connections_share_one_enclave_over_a_private_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("enclave.sock");
    std::fs::write(&path, "something old").unwrap();
    let listener = bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let server = server();
    open(&server);
    thread::spawn(move || server.listen(|| Ok(listener.accept()?.0), |_| {}));
    let ask = |stream: &mut UnixStream, request: &Request| -> Response {
        rpc::write_frame(stream, request).unwrap();
        let mut body = Vec::new();
        assert!(rpc::read_frame(stream, &mut body).unwrap());
        rpc::decode(&body).unwrap()
    };
    // A connection with garbage ends; one that waits in the middle of a frame holds nobody up.
    let mut garbage = UnixStream::connect(&path).unwrap();
    garbage.write_all(&[0xff; 100]).unwrap();
    let mut end = Vec::new();
    let _ = garbage.read_to_end(&mut end);
    assert!(end.is_empty());
    let mut waiting = UnixStream::connect(&path).unwrap();
    waiting.write_all(&[100, 0, 0, 0, 1]).unwrap();
    let mut connections: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let plain: Vec<Vec<u8>> = (0..8u8).map(|number| vec![number; 100_000]).collect();
    for (stream, plain) in connections.iter_mut().zip(&plain) {
        assert_eq!(ask(stream, &Request::SealBegin { content: content(plain) }), Response::Done);
    }
    for (stream, plain) in connections.iter_mut().zip(&plain).rev() {
        let bytes = plain.clone();
        assert!(matches!(ask(stream, &Request::SealBlock { bytes }), Response::SealOut { .. }));
        assert!(matches!(ask(stream, &Request::SealEnd), Response::SealOut { .. }));
        assert!(matches!(ask(stream, &Request::SealCommit { disk: [1; 16] }), Response::Items { .. }));
    }
    let Response::State(state) = ask(&mut connections[0], &Request::State) else { panic!() };
    assert_eq!((state.files, state.stored_bytes), (8, 800_000));
}

fn any_request() -> impl Strategy<Value = Request> {
    let hash = || prop_oneof![Just([0; 32]), any::<[u8; 32]>()];
    let bytes = || proptest::collection::vec(any::<u8>(), 0..300);
    let orders = || proptest::collection::vec(any::<[u8; 32]>(), 0..4);
    let disk = || prop_oneof![Just([1; 16]), any::<[u8; 16]>()];
    let audit = || {
        (hash(), any::<u64>(), bytes(), proptest::collection::vec(bytes(), 0..3))
            .prop_map(|(order, audited, chunk, nodes)| rpc::Audit { order, audited, chunk, nodes })
    };
    let stretch = || {
        prop_oneof![
            (disk(), any::<u64>(), any::<u32>()).prop_map(|(disk, page, pages)| rpc::Stretch::Filler {
                disk,
                page,
                pages
            }),
            (hash(), any::<u64>(), any::<u32>()).prop_map(|(order, chunk, chunks)| rpc::Stretch::File {
                order,
                chunk,
                chunks
            }),
            (hash(), any::<u64>(), any::<u32>()).prop_map(|(order, node, nodes)| rpc::Stretch::Tree {
                order,
                node,
                nodes
            }),
        ]
    };
    prop_oneof![
        Just(Request::Hello),
        proptest::collection::vec(bytes(), 0..3).prop_map(|items| Request::Load { items }),
        (hash(), hash()).prop_map(|(genesis, provider)| Request::Open { genesis, provider }),
        hash().prop_map(|block_hash| Request::Evidence { block_hash }),
        (bytes(), any::<u64>())
            .prop_map(|(bytes, size)| Request::SealBegin { content: Content { size, ..content(&bytes) } }),
        bytes().prop_map(|bytes| Request::SealBegin { content: content(&bytes) }),
        bytes().prop_map(|bytes| Request::SealBlock { bytes }),
        Just(Request::SealEnd),
        disk().prop_map(|disk| Request::SealCommit { disk }),
        (hash(), any::<u64>(), bytes()).prop_map(|(order, chunk, sealed)| Request::Read { order, chunk, sealed }),
        (disk(), any::<u32>()).prop_map(|(disk, bytes)| Request::Filler { disk, bytes: bytes & 0x1f_f000 }),
        disk().prop_map(|disk| Request::FillerCommit { disk }),
        (disk(), any::<u64>()).prop_map(|(disk, to)| Request::Shrink { disk, to: to & 0xf_f000 }),
        (0..3u32, hash()).prop_map(|(slot, slot_hash)| Request::Show { slot, slot_hash }),
        proptest::collection::vec(proptest::option::of(bytes()), 0..300).prop_map(|bytes| Request::Samples { bytes }),
        orders().prop_map(|orders| Request::Delete { orders }),
        orders().prop_map(|orders| Request::Lost { orders }),
        (hash(), orders()).prop_map(|(prev, orders)| Request::Sign { statement: Saying::Receipts { prev, orders } }),
        (hash(), orders()).prop_map(|(prev, orders)| Request::Sign { statement: Saying::Gone { prev, orders } }),
        (hash(), 0..3u32, proptest::option::of(audit()))
            .prop_map(|(prev, slot, audit)| Request::Sign { statement: Saying::Report { prev, slot, audit } }),
        (hash(), any::<u64>()).prop_map(|(order, audited)| Request::AuditReads { order, audited }),
        Just(Request::ScrubNext),
        hash().prop_map(|order| Request::TreeBegin { order }),
        bytes().prop_map(|sealed| Request::TreeChunks { sealed }),
        (stretch(), proptest::option::of(bytes())).prop_map(|(stretch, bytes)| Request::Scrub { stretch, bytes }),
        hash().prop_map(|root| Request::Release { root }),
        hash().prop_map(|root| Request::Final { root }),
        Just(Request::State),
        (proptest::option::of(hash()), any::<u32>()).prop_map(|(after, limit)| Request::Files { after, limit }),
        (hash(), any::<u32>()).prop_map(|(prev, limit)| Request::GoneDue { prev, limit }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is asked, in whatever order, is answered once, and all items together are a log that opens again.
    #[test]
    fn any_requests_are_answered(requests in proptest::collection::vec(any_request(), 1..40), opened: bool) {
        let server = server();
        let mut items = if opened { open(&server) } else { Vec::new() };
        let answers = ask(&server, &requests);
        prop_assert_eq!(answers.len(), requests.len());
        for answer in answers {
            items.extend(match answer {
                Response::Opened { items, .. } | Response::Items { items } | Response::Shown { items, .. }
                | Response::Checked { items, .. } | Response::Signed { items, .. }
                | Response::Scrubbed { items, .. } => items,
                _ => Vec::new(),
            });
        }
        if !items.is_empty() {
            let again = Server::new(server.about.clone(), Enclave::new(Arc::new(TestPlatform), Constants::DEVELOPMENT));
            let root = server.enclave().overview().unwrap().root;
            prop_assert_eq!(ask(&again, &[Request::Load { items }]), vec![Response::Done]);
            again.enclave().load(&[]).unwrap();
            let identity = requests.iter().find_map(|request| match request {
                Request::Open { genesis, provider } if !opened => Some((*genesis, *provider)),
                _ => None,
            });
            let (genesis, provider) = identity.unwrap_or(([1; 32], [2; 32]));
            if let Ok(opened) = again.enclave().open(genesis, provider) {
                prop_assert_eq!(opened.root, root);
            }
        }
    }

    /// Random bytes end their connection at most.
    #[test]
    fn random_bytes_never_end_the_server(
        bytes in proptest::collection::vec(any::<u8>(), 0..500), framed: bool, tag in 0u8..36,
    ) {
        let server = server();
        open(&server);
        let bytes = match framed {
            true => [&u32::try_from(bytes.len() + 1).unwrap().to_le_bytes()[..], &[tag], &bytes].concat(),
            false => bytes,
        };
        let _ = server.serve(&mut Tape::of(bytes));
        prop_assert!(matches!(ask(&server, &[Request::State])[0], Response::State(_)));
    }
}

#[test]
fn the_largest_draw_fits_a_frame() {
    let samples = vec![Sample::File { order: [1; 32], chunk: 1 }; 2 * 5_120 + 32_768];
    let answer = Response::Shown { items: Vec::new(), draw: samples.clone() };
    assert!(answer.encoded_size() < rpc::MAX_FRAME);
    assert!(rpc::encode(&answer).is_ok());
    let result = rpc::CheckResult { slot: 1, good_filler: 0, good_files: 0, bad: samples };
    let items = vec![result.encode(), vec![0; 100]];
    assert!(rpc::encode(&Response::Checked { left: 0, items, result: Some(result) }).is_ok());
}
