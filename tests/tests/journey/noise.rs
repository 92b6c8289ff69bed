//! Random bytes at every door of running programs: pool, admin API, libp2p port, enclave socket. Each door closes on the
//! sender, and behind it the same process goes on with its work.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use crust_client::{
    chain::{Call, Finality},
    wallet::Wallet,
};
use crust_tests::{Network, NodeEndpoints, Options, Payload, Put};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::order_id;

/// No door may keep a sender waiting for longer.
const SOON: Duration = Duration::from_secs(60);

struct House {
    network: Network,
    node: NodeEndpoints,
    put: Put,
    file: Vec<u8>,
    noise: Vec<u8>,
}

/// Lesson 11: the enclave's socket is open to its own user alone; and what comes through it, or through any other door,
/// is refused without harm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lesson_11_random_bytes_at_every_door_change_nothing() {
    let network = Network::with(Options { nodes: 1, ..Options::default() }).await.unwrap();
    let path = network.file(16, 1 << 20).unwrap();
    let put = network.put(&path, &["--replicas", "1", "--term", "1h", "--wait"]).await.unwrap();
    let mut noise = vec![0; 64 << 10];
    std::io::Read::read_exact(&mut Payload::new(99), &mut noise).unwrap();
    let node = network.endpoints.nodes[0].clone();
    let mut house = House { network, node, put, file: fs::read(path).unwrap(), noise };

    house.at_the_pool().await;
    house.at_the_admin_api().await;
    house.at_the_libp2p_port().await;
    house.at_the_enclaves_socket().await;

    let before: Vec<u32> = house.network.endpoints.pids().collect();
    let after: Vec<u32> = house.network.refresh().unwrap().pids().collect();
    assert_eq!(before, after, "a process died of noise");
}

impl House {
    /// Random transactions, and one of a real statement's form; afterwards a true one is taken in.
    async fn at_the_pool(&self) {
        let http = reqwest::Client::new();
        let rpc = self.network.endpoints.chain.replace("ws://", "http://");
        let general = |bytes: &[u8]| {
            // Length, general transaction of version 5, no extensions with content, then pallet, call and noise.
            let body = [&[0x45, 0, 0, 0, 0], bytes].concat();
            let length = u32::try_from(body.len()).unwrap() << 2 | 1;
            [&length.to_le_bytes()[..2], &body].concat()
        };
        let plain = self.noise.chunks(997).map(<[u8]>::to_vec);
        for bytes in plain.chain(self.noise.chunks(997).map(general)) {
            let call = serde_json::json!({
                "jsonrpc": "2.0", "id": 1, "method": "author_submitExtrinsic",
                "params": [format!("0x{}", hex::encode(bytes))],
            });
            let answer: serde_json::Value = http.post(&rpc).json(&call).send().await.unwrap().json().await.unwrap();
            assert!(answer.get("error").is_some(), "{answer}");
        }
        let chain = self.network.chain().await.unwrap();
        let client = Wallet::development("//Client", &chain).unwrap();
        let fund = Call::Fund { order: order_id(&self.put.order), amount: 1_000_000 };
        chain.submit(fund, &client).await.unwrap();
    }

    /// Bytes that are no HTTP and requests that make no sense; afterwards the status is told.
    async fn at_the_admin_api(&self) {
        let http = reqwest::Client::new();
        let admin = &self.node.admin;
        for piece in self.noise.chunks(8_191) {
            send(&mut TcpStream::connect(admin.trim_start_matches("http://")).await.unwrap(), piece).await;
        }
        for (path, body) in
            [("/v1/capacity", "\u{0}\u{1}"), ("/v1/capacity", "{\"capacity\": -1}"), ("/v1/nothing", "{}")]
        {
            let answer = http.post(format!("{admin}{path}")).body(body).send().await.unwrap();
            assert!(answer.status().is_client_error(), "{path} {body:?}: {}", answer.status());
        }
        let status = self.network.admin(0, "/v1/status").await.unwrap();
        assert_eq!(status["stored_bytes"], self.put.size, "{status}");
    }

    /// Noise, and noise after a protocol was agreed on; afterwards the file is served through the same port.
    async fn at_the_libp2p_port(&self) {
        let mut parts = self.node.peer.split('/');
        let port: u16 = parts.by_ref().skip_while(|part| *part != "tcp").nth(1).unwrap().parse().unwrap();
        for piece in self.noise.chunks(8_191) {
            let greeted = [b"\x13/multistream/1.0.0\n\x07/noise\n", piece].concat();
            for bytes in [piece, &greeted] {
                send(&mut TcpStream::connect(("127.0.0.1", port)).await.unwrap(), bytes).await;
            }
        }
        assert!(self.network.get(&self.put.cid).await.unwrap() == self.file);
    }

    /// Random frames, a frame that is too long, half a frame; afterwards the enclave checks and signs the next report.
    async fn at_the_enclaves_socket(&self) {
        let socket = self.node.dir.join("enclave.sock");
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        let (own, folder) = (mode(&socket), mode(&self.node.dir));
        assert!(own & 0o077 == 0 && folder & 0o077 == 0, "others may reach the socket: {own:o} in {folder:o}");
        for piece in self.noise.chunks(4_001) {
            let mut frame = u32::try_from(piece.len()).unwrap().to_le_bytes().to_vec();
            frame.extend_from_slice(piece);
            send(&mut UnixStream::connect(&socket).await.unwrap(), &frame).await;
            send(&mut UnixStream::connect(&socket).await.unwrap(), piece).await;
        }
        send(&mut UnixStream::connect(&socket).await.unwrap(), &u32::MAX.to_le_bytes()).await;
        let chain = self.network.chain().await.unwrap();
        let (node, slot) = (self.node.id, chain.view(Finality::Best).await.unwrap().slot());
        let next = self.network.until("a report after the noise", 60, |view| async move {
            Ok(view.node(node).await?.unwrap().last_report.filter(|report| report.slot > slot))
        });
        let report = next.await.unwrap();
        assert_eq!((report.good_files, report.stored_bytes), (255, self.put.size));
    }
}

/// Sends bytes and reads until the other side closes; it must not keep the sender waiting for ever.
async fn send<S: AsyncReadExt + AsyncWriteExt + Unpin>(stream: &mut S, bytes: &[u8]) {
    // The other side may close before it has read all.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "a connection hangs");
}
