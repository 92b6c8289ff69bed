//! How fast a file moves between two nodes of one process over TCP on the loopback: 1 GiB in raw leaves of 1 MiB out of
//! memory, every block hashed before it leaves and when it arrives. Prints MB/s, processor time and peak memory.
//!
//! `cargo bench -p crust-network` or, to choose the size in MiB and the transport, `transfer 512 quic`.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crust_network::{Blocks, Config, Multiaddr, Network, NoBlocks, fetch};
use crust_protocol::{
    file::{Cid, Codec, HashFunction, Multihash},
    walk::Limits,
};
use futures::{TryStreamExt, future::BoxFuture};

struct Memory(HashMap<Multihash, Bytes>);

impl Blocks for Memory {
    fn size(&self, cid: Cid) -> BoxFuture<'_, Option<u32>> {
        Box::pin(async move { self.0.get(&cid.multihash()).and_then(|block| block.len().try_into().ok()) })
    }

    fn get(&self, cid: Cid) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(async move { self.0.get(&cid.multihash()).cloned() })
    }
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let leaves: u32 = arguments.next().map_or(Ok(1024), |argument| argument.parse())?;
    let listen: Multiaddr = match arguments.next().as_deref() {
        Some("quic") => "/ip4/127.0.0.1/udp/0/quic-v1".parse()?,
        _ => "/ip4/127.0.0.1/tcp/0".parse()?,
    };
    let (root, blocks) = file(leaves);
    let size: usize = blocks.values().map(Bytes::len).sum();
    let held = status("VmRSS")?;

    let server =
        Network::start(Config { listen: vec![listen], ..Config::new([1; 32]) }, Arc::new(Memory(blocks))).await?;
    let client = Network::start(Config::new([2; 32]), Arc::new(NoBlocks)).await?;
    client.dial(server.peer_id(), server.listen_addresses()).await?;

    for _ in 0..3 {
        let (start, cpu) = (Instant::now(), processor_time()?);
        let stream = fetch::stream(client.session(&[server.peer_id()]), root, Limits::PROTOCOL);
        let fetched = stream.try_fold(0usize, async |sum, (_, bytes)| Ok(sum + bytes.len())).await?;
        assert_eq!(fetched, size, "the whole file came");
        let (took, cpu) = (start.elapsed(), processor_time()? - cpu);
        println!(
            "{} MB in {:.2} s: {:.0} MB/s; {:.2} s of processor time, both sides; at most {} MiB beside the file",
            size / 1_000_000,
            took.as_secs_f64(),
            size as f64 / 1e6 / took.as_secs_f64(),
            cpu.as_secs_f64(),
            status("VmHWM")?.saturating_sub(held) >> 10,
        );
    }
    Ok(())
}

/// A root over leaves of 1 MiB, no two alike.
fn file(leaves: u32) -> (Cid, HashMap<Multihash, Bytes>) {
    let mut blocks = HashMap::new();
    let mut root = Vec::new();
    for number in 0..leaves {
        let leaf: Vec<u8> = (0..1u64 << 17)
            .flat_map(|word| (word ^ u64::from(number) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
            .collect();
        let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, &leaf);
        root.extend([0x12, 38, 0x0a, 36]);
        root.extend(cid.as_bytes());
        blocks.insert(cid.multihash(), leaf.into());
    }
    let cid = Cid::of(Codec::DagPb, HashFunction::Sha2_256, &root);
    blocks.insert(cid.multihash(), root.into());
    (cid, blocks)
}

/// A line of /proc/self/status, in KiB.
fn status(name: &str) -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(name)).ok_or("no such line")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

/// User and system time of this process so far; a tick of the kernel is a hundredth of a second.
fn processor_time() -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().ok_or("no name")?;
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>()).sum::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}
