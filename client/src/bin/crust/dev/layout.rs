//! Where a development network keeps what: ports, folders and the configuration of every child.
//!
//! ```text
//! DIR/network.json     the ports, chosen once
//! DIR/endpoints.json   for scripts, while the network is ready
//! DIR/validator-N/     chain node: database, node-key, node.log
//! DIR/node-N/          storage node: storage.toml, state/, disk-0/, enclave.sock, platform/, storage.log, enclave.log
//! ```

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs,
    io::Write,
    net::{Ipv4Addr, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{DirBuilderExt, OpenOptionsExt},
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::child::{Kind, Program, find};

/// Free ports are looked for below those that the kernel hands out by itself.
const FIRST_PORT: u16 = 20_000;
const LAST_PORT: u16 = 32_000;
/// From the first port to the first storage node's.
const NODE_PORTS: u16 = 20;
/// Tokens that each storage node deposits: enough for more than a development machine can hold.
const COLLATERAL: u32 = 100;
/// The longest path of a Unix socket.
const SOCKET_PATH: usize = 107;

/// The plan of a network.
pub struct Layout {
    pub dir: PathBuf,
    ports: Ports,
    claims: Claims,
    validators: u16,
    nodes: u16,
    capacity: u64,
}

/// Ports that are this network's for as long as it runs, whether its children listen on them at the moment or not: of
/// two networks that start at the same time only one has a port. A claim is a name in the kernel, gone with its process.
#[derive(Default)]
struct Claims(BTreeMap<u16, UnixListener>);

/// What stays the same when the network is started again.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ports {
    validators: Vec<ValidatorPorts>,
    nodes: Vec<NodePorts>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct ValidatorPorts {
    rpc: u16,
    peers: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct NodePorts {
    admin: u16,
    peers: u16,
}

impl Layout {
    /// Reads the plan of an existing directory, or makes one. Nothing but the directory itself is written.
    pub fn prepare(
        dir: &Path,
        validators: u16,
        nodes: u16,
        base_port: Option<u16>,
        capacity: u64,
    ) -> anyhow::Result<Layout> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = fs::canonicalize(dir)?;
        let path = dir.join("network.json");
        let mut ports = match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged; remove it", path.display()))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ports::default(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let mut claims = Claims::default();
        ports.extend(validators, nodes, base_port, &mut claims)?;
        let layout = Layout { dir, ports, claims, validators, nodes, capacity };
        let longest = layout.socket(nodes.saturating_sub(1));
        if longest.as_os_str().len() > SOCKET_PATH {
            bail!("{} is too long for a socket (at most {SOCKET_PATH} bytes): choose a shorter DIR", longest.display());
        }
        Ok(layout)
    }

    /// Keeps a second `crust dev` off the directory.
    pub fn lock(&self) -> anyhow::Result<fs::File> {
        let file = fs::File::create(self.dir.join("lock"))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("another `crust dev` runs on {}", self.dir.display());
        }
        Ok(file)
    }

    /// Writes folders and configuration, once it is sure that every port is free.
    pub fn write(&mut self) -> anyhow::Result<()> {
        for port in self.ports_in_use() {
            if !self.claims.take(port) {
                bail!(
                    "port {port} is in use by another program; stop it, or remove {} to have other ports",
                    self.dir.join("network.json").display()
                );
            }
        }
        match fs::remove_file(self.endpoints()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        replace(&self.dir.join("network.json"), &serde_json::to_vec_pretty(&self.ports)?)?;
        for index in 0..self.validators {
            let dir = self.validator(index);
            fs::create_dir_all(&dir)?;
            let key = dir.join("node-key");
            if !key.exists() {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).context("no randomness")?;
                replace(&key, hex::encode(secret).as_bytes())?;
            }
        }
        for index in 0..self.nodes {
            let dir = self.node(index);
            for part in ["state", "disk-0", "platform"] {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join(part))?;
            }
            replace(&dir.join("storage.toml"), self.storage_config(index).as_bytes())?;
        }
        Ok(())
    }

    /// Every child, in the order of their start.
    pub fn programs(&self) -> anyhow::Result<Vec<Program>> {
        let (chain, enclave, storage) = (find("crust-node")?, find("crust-enclave-dev")?, find("crust-storage")?);
        let mut programs = Vec::new();
        for (index, ports) in (0..self.validators).zip(&self.ports.validators) {
            let dir = self.validator(index);
            let words = ["--chain", "dev", "--alice", "--validator", "--no-telemetry", "--no-prometheus", "--no-mdns"];
            let mut arguments: Vec<_> = words.into_iter().map(Into::into).collect();
            arguments.extend(["--base-path".into(), dir.clone().into()]);
            arguments.extend(["--node-key-file".into(), dir.join("node-key").into()]);
            arguments.extend(["--rpc-port".into(), ports.rpc.to_string().into()]);
            arguments.extend(["--listen-addr".into(), format!("/ip4/127.0.0.1/tcp/{}", ports.peers).into()]);
            programs.push(Program {
                kind: Kind::Chain,
                name: validator_name(index),
                path: chain.clone(),
                arguments,
                log: dir.join("node.log"),
            });
        }
        for index in 0..self.nodes {
            let dir = self.node(index);
            let socket = self.socket(index).into();
            programs.push(Program {
                kind: Kind::Enclave,
                name: enclave_name(index),
                path: enclave.clone(),
                arguments: vec!["--socket".into(), socket, "--platform".into(), dir.join("platform").into()],
                log: dir.join("enclave.log"),
            });
        }
        for index in 0..self.nodes {
            let dir = self.node(index);
            programs.push(Program {
                kind: Kind::Storage,
                name: node_name(index),
                path: storage.clone(),
                arguments: vec!["--config".into(), dir.join("storage.toml").into()],
                log: dir.join("storage.log"),
            });
        }
        Ok(programs)
    }

    /// WebSocket URLs of the chain nodes.
    pub fn chains(&self) -> Vec<String> {
        let ports = self.ports.validators.iter().take(self.validators.into());
        ports.map(|ports| format!("ws://127.0.0.1:{}", ports.rpc)).collect()
    }

    /// Admin URLs of the storage nodes.
    pub fn admins(&self) -> Vec<String> {
        let ports = self.ports.nodes.iter().take(self.nodes.into());
        ports.map(|ports| format!("http://127.0.0.1:{}", ports.admin)).collect()
    }

    pub fn endpoints(&self) -> PathBuf {
        self.dir.join("endpoints.json")
    }

    /// The folder of a storage node.
    pub fn node(&self, index: u16) -> PathBuf {
        self.dir.join(format!("node-{index}"))
    }

    fn validator(&self, index: u16) -> PathBuf {
        self.dir.join(format!("validator-{index}"))
    }

    fn socket(&self, index: u16) -> PathBuf {
        self.node(index).join("enclave.sock")
    }

    fn storage_config(&self, index: u16) -> String {
        let chain = self.chains().into_iter().next().unwrap_or_default();
        let ports = self.ports.nodes.get(usize::from(index)).copied().unwrap_or(NodePorts { admin: 0, peers: 0 });
        format!(
            "# Written by `crust dev` at every start.\n\
             chain = \"{chain}\"\n\
             state = \"state\"\n\
             enclave = \"enclave.sock\"\n\
             listen = [\"/ip4/127.0.0.1/tcp/{}\"]\n\
             admin = \"127.0.0.1:{}\"\n\
             provider = {{ dev = \"{}\", collateral = \"{COLLATERAL}\" }}\n\
             \n\
             [[disks]]\n\
             path = \"disk-0\"\n\
             capacity = \"{}\"\n",
            ports.peers,
            ports.admin,
            provider(index),
            self.capacity,
        )
    }

    fn ports_in_use(&self) -> Vec<u16> {
        let validators = self.ports.validators.iter().take(self.validators.into());
        let nodes = self.ports.nodes.iter().take(self.nodes.into());
        validators.flat_map(|it| [it.rpc, it.peers]).chain(nodes.flat_map(|it| [it.admin, it.peers])).collect()
    }
}

impl Ports {
    /// Ports for as many children as are wanted now; those chosen before stay.
    fn extend(&mut self, validators: u16, nodes: u16, base: Option<u16>, claims: &mut Claims) -> anyhow::Result<()> {
        if let (Some(base), Some(first)) = (base, self.validators.first())
            && first.rpc != base
        {
            bail!("this network has its ports already, from {}: leave --base-port out", first.rpc);
        }
        let base = base.or_else(|| self.based());
        while self.validators.len() < usize::from(validators) {
            let pair = self.pair(base, self.validators.len(), claims)?;
            self.validators.push(ValidatorPorts { rpc: pair.0, peers: pair.1 });
        }
        while self.nodes.len() < usize::from(nodes) {
            let pair = self.pair(base, usize::from(NODE_PORTS / 2).saturating_add(self.nodes.len()), claims)?;
            self.nodes.push(NodePorts { admin: pair.0, peers: pair.1 });
        }
        Ok(())
    }

    /// The first port, if the existing ones look as if they were counted from it.
    fn based(&self) -> Option<u16> {
        let first = self.validators.first()?.rpc;
        (self.nodes.first()?.admin == first.checked_add(NODE_PORTS)?).then_some(first)
    }

    /// The pair at a place counted from the first port, or any free pair.
    fn pair(&self, base: Option<u16>, place: usize, claims: &mut Claims) -> anyhow::Result<(u16, u16)> {
        if let Some(base) = base {
            let first = u16::try_from(place).ok().and_then(|place| base.checked_add(place.checked_mul(2)?));
            let pair = first.and_then(|first| Some((first, first.checked_add(1)?)));
            return pair.context("--base-port is too high");
        }
        let mut random = [0; 2];
        getrandom::fill(&mut random).context("no randomness")?;
        let range = LAST_PORT.saturating_sub(FIRST_PORT);
        let start = u16::from_le_bytes(random) % range;
        let mut free = (0..range)
            .map(|step| FIRST_PORT.saturating_add(start.wrapping_add(step) % range))
            .filter(|port| !self.taken(*port) && claims.take(*port));
        free.next().zip(free.next()).context("no free port")
    }

    fn taken(&self, port: u16) -> bool {
        self.validators.iter().any(|it| it.rpc == port || it.peers == port)
            || self.nodes.iter().any(|it| it.admin == port || it.peers == port)
    }
}

impl Claims {
    /// Claims a port on which nobody listens; whether it is this network's now.
    fn take(&mut self, port: u16) -> bool {
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
            return false;
        }
        if let Entry::Vacant(place) = self.0.entry(port) {
            let name = SocketAddr::from_abstract_name(format!("crust dev, port {port}"));
            let Ok(claim) = name.and_then(|name| UnixListener::bind_addr(&name)) else { return false };
            place.insert(claim);
        }
        true
    }
}

/// The development account that runs a storage node.
pub fn provider(index: u16) -> String {
    format!("//Provider{index}")
}

pub fn validator_name(index: u16) -> String {
    format!("chain node {index}")
}

pub fn enclave_name(index: u16) -> String {
    format!("enclave {index}")
}

pub fn node_name(index: u16) -> String {
    format!("storage node {index}")
}

/// Writes a file as a whole or not at all.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_when_the_network_grows() {
        let (mut ports, mut claims) = (Ports::default(), Claims::default());
        ports.extend(1, 2, None, &mut claims).unwrap();
        let before: Vec<_> = ports.nodes.clone();
        ports.extend(1, 5, None, &mut claims).unwrap();
        assert_eq!(before, ports.nodes[..2]);
        let mut all: Vec<_> = ports.nodes.iter().flat_map(|it| [it.admin, it.peers]).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 10);
    }

    #[test]
    fn ports_count_from_the_first_one() {
        let (mut ports, mut claims) = (Ports::default(), Claims::default());
        ports.extend(1, 1, Some(30_000), &mut claims).unwrap();
        assert!(ports.validators == [ValidatorPorts { rpc: 30_000, peers: 30_001 }]);
        ports.extend(1, 2, None, &mut claims).unwrap();
        assert!(ports.nodes[1] == NodePorts { admin: 30_022, peers: 30_023 });
        assert!(ports.extend(1, 2, Some(30_002), &mut claims).is_err());
        assert!(Ports::default().extend(1, 16, Some(65_530), &mut claims).is_err());
    }

    #[test]
    fn a_port_in_use_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap();
        let mut layout = Layout::prepare(dir.path(), 1, 0, Some(port), 1 << 30).unwrap();
        assert!(layout.write().unwrap_err().to_string().contains(&format!("port {port} is in use")));
    }

    /// The second is refused although the first has not started anything yet.
    #[test]
    fn two_networks_never_have_the_same_port() {
        let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut first = Layout::prepare(left.path(), 1, 1, None, 1 << 30).unwrap();
        first.write().unwrap();
        fs::copy(left.path().join("network.json"), right.path().join("network.json")).unwrap();
        let mut second = Layout::prepare(right.path(), 1, 1, None, 1 << 30).unwrap();
        assert!(second.write().unwrap_err().to_string().contains("is in use"));
        drop(first);
        second.write().unwrap();
    }

    #[test]
    fn one_network_to_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::prepare(dir.path(), 1, 1, None, 1 << 30).unwrap();
        let _held = layout.lock().unwrap();
        assert!(layout.lock().unwrap_err().to_string().contains("another `crust dev`"));
    }
}
