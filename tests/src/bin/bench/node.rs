//! A storage node without a chain: the daemon's store, its client of the enclave and its way of serving, in this process;
//! the enclave in one of its own, with the constants of production.

use std::{
    fs::{self, File},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use crust_enclave::{
    Constants,
    rpc::{Request, Response},
    tree,
};
use crust_protocol::{
    file::{Cid, Codec},
    walk::{Block, Fed, Limits, Walk},
};
use crust_storage_node::{
    config::Config,
    enclave_client::Enclave,
    store::{
        Store,
        disks::DiskId,
        filler::Filler,
        index::{Record, State},
        sealed::{self, Writer},
    },
    workers::{Board, serve::Serve},
};
use rustix::fs::Advice;

use crate::{graph::Graph, process::Process};

pub const GENESIS: [u8; 32] = [2; 32];
pub const PROVIDER: [u8; 32] = [3; 32];
pub const GIB: u64 = 1 << 30;
/// What is left to others of the disk on which is measured.
const LEFT: u64 = 15 * GIB;

pub struct Node {
    pub store: Arc<Store>,
    pub enclave: Enclave,
    pub serve: Serve,
    dir: PathBuf,
    _process: Process,
}

impl Node {
    /// On a directory that nobody else may enter, with what lies in it.
    pub async fn start(dir: &Path) -> anyhow::Result<Node> {
        Self::start_with(dir, true).await
    }

    /// The same, whose sealed files get parity or not.
    pub async fn start_with(dir: &Path, parity: bool) -> anyhow::Result<Node> {
        let config = "chain = \"ws://127.0.0.1:1\"\nstate = \"state\"\nenclave = \"enclave.sock\"\n\
            listen = [\"/ip4/127.0.0.1/tcp/0\"]\nadmin = \"127.0.0.1:0\"\nprovider = { dev = \"//Provider0\" }\n\
            [[disks]]\npath = \"disk\"\ncapacity = \"1TiB\"\n";
        fs::write(dir.join("storage.toml"), format!("parity = {parity}\n{config}"))?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join("platform"))?;
        let config = Config::load(&dir.join("storage.toml"))?;
        let process = Process::with(Constants::PRODUCTION, dir)?;
        let (store, log) = Store::open(&config)?;
        let enclave = Enclave::new(&config.enclave, GENESIS, PROVIDER, None, log);
        enclave.open().await?;
        let store = Arc::new(store);
        let serve = Serve::new(store.clone(), enclave.clone(), Board::default());
        Ok(Node { store, enclave, serve, dir: dir.to_owned(), _process: process })
    }

    pub fn disk(&self) -> anyhow::Result<(DiskId, PathBuf)> {
        let disk = self.store.disks().into_iter().next().context("no disk")?;
        Ok((disk.id, disk.path.clone()))
    }

    pub fn filler(&self) -> anyhow::Result<Arc<Filler>> {
        Ok(self.store.fillers().into_iter().next().context("no disk")?.1)
    }

    /// Seals a file as the daemon does, and takes it up as held; the CIDs of its leaves.
    pub async fn seal(&self, graph: &Graph<'_>) -> anyhow::Result<Vec<Cid>> {
        let (content, (disk, path)) = (graph.content.clone(), self.disk()?);
        let (id, size) = (content.id(), content.size);
        let create = |path, length| Writer::create(path, self.store.parity.then_some(length));
        let mut file = create(sealed::path(&path, &id), sealed::length(size)).await?;
        let mut nodes = create(sealed::tree_path(&path, &id), tree::length(size)).await?;
        let mut connection = self.enclave.connection().await?;
        connection.ask(Request::SealBegin { content: content.clone() }).await?;
        let (mut walk, mut rows, mut leaves) = (Walk::new(content.cid, Limits::PROTOCOL), Vec::new(), Vec::new());
        let requests = graph.blocks().map(Some).chain([None]);
        for block in requests {
            let request = match block {
                Some(bytes) => {
                    let cid = walk.wanted().context("more blocks than the graph has")?;
                    if let Fed::Bytes { offset } = walk.feed(&Block::checked_before(cid, bytes))? {
                        rows.push((cid.multihash(), offset, u32::try_from(bytes.len())?));
                    }
                    if cid.codec() == Codec::Raw {
                        leaves.push(cid);
                    }
                    Request::SealBlock { bytes: bytes.to_vec() }
                }
                None => Request::SealEnd,
            };
            let Response::SealOut { sealed, tree } = connection.ask(request).await? else { bail!("not sealed") };
            file.append(sealed).await?;
            nodes.append(tree).await?;
        }
        nodes.finish().await?;
        file.finish().await?;
        self.enclave.exclusive().await.change_on(&mut connection, Request::SealCommit { disk }).await?;
        let mut record = Record::new(content, State::Held);
        record.disk = Some(disk);
        self.store.run(move |index| index.put(&[record]).and_then(|()| index.add_blocks(&id, &rows))).await?;
        Ok(leaves)
    }

    /// Grows the filler, all of it durable.
    pub async fn fill(&self, to: u64) -> anyhow::Result<()> {
        let filler = self.filler()?;
        while filler.grow(&self.enclave, to).await? {}
        ensure!(filler.length() == to, "{} bytes of filler instead of {to}", filler.length());
        Ok(())
    }

    /// Drops what of the disk is in the page cache, and looks whether it is gone (`fincore` asks mincore).
    pub fn chill(&self) -> anyhow::Result<()> {
        let mut files = Vec::new();
        list(&self.disk()?.1, &mut files)?;
        let mut total = 0;
        for path in &files {
            let file = File::open(path)?;
            file.sync_all()?;
            total += file.metadata()?.len();
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        let output = Command::new("fincore").args(["--bytes", "--noheadings", "--output", "RES"]).args(&files).output();
        let output = output.context("`fincore` of util-linux is needed")?;
        ensure!(output.status.success(), "fincore: {}", String::from_utf8_lossy(&output.stderr));
        let resident = String::from_utf8(output.stdout)?;
        let resident: u64 = resident.split_whitespace().map(str::parse::<u64>).sum::<Result<_, _>>()?;
        ensure!(resident <= total / 500, "{resident} of {total} bytes are still in the page cache");
        Ok(())
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { list(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// Bytes that a measurement may take of the disk of temporary files.
pub fn spare() -> anyhow::Result<u64> {
    let stat = rustix::fs::statvfs(std::env::temp_dir())?;
    Ok((stat.f_bavail * stat.f_frsize).saturating_sub(LEFT))
}
