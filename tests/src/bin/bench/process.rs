//! Enclave processes with a socket and a platform of their own; killed when dropped.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use crust_enclave::{
    Constants, Enclave, RELEASE,
    rpc::{self, About, PROTOCOL, Request, Response},
    server::{self, Server},
};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_tests::{bin, memory};

/// Bytes of a log that are loaded at a time.
const LOAD: usize = 3 << 20;
/// The word by which this program is called to be an enclave.
const WORD: &str = "enclave";

pub struct Process {
    child: Child,
    socket: PathBuf,
}

impl Process {
    /// `crust-enclave-dev`.
    pub fn development(dir: &Path) -> anyhow::Result<Process> {
        let mut command = Command::new(bin().join("crust-enclave-dev"));
        let (socket, platform) = (dir.join("enclave.sock"), dir.join("platform"));
        command.arg("--socket").arg(&socket).arg("--platform").arg(platform);
        Process::start(command, socket)
    }

    /// The same with other constants: those of production, or those with other segments.
    pub fn with(constants: Constants, dir: &Path) -> anyhow::Result<Process> {
        let mut command = Command::new(std::env::current_exe()?);
        let (socket, platform) = (dir.join("enclave.sock"), dir.join("platform"));
        command.arg(WORD).arg(&socket).arg(platform).arg(constants.segment.to_string());
        Process::start(command, socket)
    }

    fn start(mut command: Command, socket: PathBuf) -> anyhow::Result<Process> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let process = Process { child, socket };
        process.connect().map(|_| process)
    }

    pub fn connect(&self) -> anyhow::Result<UnixStream> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Resident bytes.
    pub fn resident(&self) -> anyhow::Result<u64> {
        memory(self.child.id(), "status", "VmRSS")
    }

    /// Has it load a log and open it.
    pub fn open(&self, log: &[Vec<u8>]) -> anyhow::Result<()> {
        let (mut stream, mut body) = (self.connect()?, Vec::new());
        let (mut items, mut bytes) = (Vec::new(), 0);
        for (at, item) in log.iter().enumerate() {
            bytes += item.len();
            items.push(item.clone());
            if bytes >= LOAD || at + 1 == log.len() {
                ask(&mut stream, &mut body, &Request::Load { items: std::mem::take(&mut items) })?;
                bytes = 0;
            }
        }
        ask(&mut stream, &mut body, &Request::Open { genesis: [2; 32], provider: [3; 32] }).map(drop)
    }
}

/// Asks, and takes the answer.
pub fn ask(stream: &mut UnixStream, body: &mut Vec<u8>, request: &Request) -> anyhow::Result<Response> {
    rpc::write_frame(stream, request)?;
    answer(stream, body)
}

/// The answer to the request that was sent first of those not answered.
pub fn answer(stream: &mut UnixStream, body: &mut Vec<u8>) -> anyhow::Result<Response> {
    if !rpc::read_frame(stream, body)? {
        bail!("the enclave has closed the connection");
    }
    match rpc::decode(body)? {
        Response::Error(error) => Err(error.into()),
        response => Ok(response),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended by itself otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves an enclave for ever, if this program was called for that.
pub fn serve_if_asked() -> Option<anyhow::Result<()>> {
    let mut words = std::env::args().skip(1);
    (words.next()? == WORD).then(|| {
        let (socket, platform) = (words.next().context("no socket")?, words.next().context("no platform")?);
        let segment = words.next().context("no segment")?.parse()?;
        serve(Path::new(&socket), Path::new(&platform), Constants { segment, ..Constants::PRODUCTION })
    })
}

fn serve(socket: &Path, platform: &Path, constants: Constants) -> anyhow::Result<()> {
    let about = About {
        protocol: PROTOCOL,
        release: RELEASE,
        measurement: [0; 32],
        development: true,
        commit: "measured".into(),
    };
    let platform = Arc::new(SoftwarePlatform::open(platform)?);
    let server = Server::new(about, Enclave::new(platform, constants));
    let listener = server::bind(socket)?;
    server.listen(|| Ok(listener.accept()?.0), |error| eprintln!("a connection ended: {error}"))?;
    Ok(())
}
