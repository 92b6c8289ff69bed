//! Serves the enclave over streams: the only part that touches a socket. A thread for every connection; what takes time
//! (sealing, opening, key stream) runs outside the lock.

use std::{
    io::{self, Read, Write},
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt},
        net::UnixListener,
    },
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    enclave::{Enclave, Handed, Opened},
    rpc::{self, About, Disk, Error, FrameError, Request, Response},
    seal::{Out, Sealed, SealedTree, Sealer, TreeSealer},
};

/// The most connections at a time; the host needs one, and one for every file that is being sealed.
const MAX_CONNECTIONS: usize = 64;
/// A buffer that grew beyond this is given back between frames.
const KEPT_BUFFER: usize = 4 << 20;

/// An enclave that several connections share.
pub struct Server {
    about: About,
    enclave: Mutex<Enclave>,
    connections: AtomicUsize,
}

impl Server {
    pub fn new(about: About, enclave: Enclave) -> Arc<Self> {
        Arc::new(Server { about, enclave: Mutex::new(enclave), connections: AtomicUsize::new(0) })
    }

    /// Serves one connection until it ends.
    pub fn serve(&self, stream: &mut (impl Read + Write)) -> Result<(), FrameError> {
        let mut session = Session { server: self, sealing: None };
        let (mut body, mut out) = (Vec::new(), Out::default());
        while rpc::read_frame(stream, &mut body)? {
            let done = match rpc::block_of(&body) {
                Some(block) => session.feed(block, &mut out).map(|()| Done::Bytes(rpc::Bytes::Sealed)),
                None => session.respond(rpc::decode(&body)?, &mut out),
            };
            match done {
                Ok(Done::Bytes(kind @ rpc::Bytes::Sealed)) => {
                    rpc::write_bytes(stream, kind, &[&out.sealed, &out.tree])?
                }
                Ok(Done::Bytes(kind)) => rpc::write_bytes(stream, kind, &[&out.sealed])?,
                Ok(Done::Response(response)) => rpc::write_frame(stream, response.as_ref())?,
                Err(error) => rpc::write_frame(stream, &Response::Error(error))?,
            }
            for buffer in [&mut body, &mut out.sealed, &mut out.tree] {
                buffer.clear();
                buffer.shrink_to(KEPT_BUFFER);
            }
        }
        Ok(())
    }

    /// Accepts connections for ever. `failed` hears of those that ended with an error.
    pub fn listen<S: Read + Write + Send + 'static>(
        self: &Arc<Self>,
        accept: impl Fn() -> io::Result<S>,
        failed: impl Fn(FrameError) + Send + Sync + Clone + 'static,
    ) -> io::Result<()> {
        loop {
            let mut stream = match accept() {
                Ok(stream) => stream,
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            // One over the limit is closed at once.
            let Some(guard) = self.enter() else { continue };
            let ended = failed.clone();
            let served = thread::Builder::new().name("connection".into()).spawn(move || {
                if let Err(error) = guard.0.serve(&mut stream) {
                    ended(error);
                }
            });
            if let Err(error) = served {
                failed(error.into());
            }
        }
    }

    fn enter(self: &Arc<Self>) -> Option<Connection> {
        let connection = Connection(Arc::clone(self));
        let before = self.connections.fetch_add(1, Ordering::SeqCst);
        (before < MAX_CONNECTIONS).then_some(connection)
    }

    fn enclave(&self) -> MutexGuard<'_, Enclave> {
        self.enclave.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Binds a socket that the same user alone can open. What lay at `path` gives way.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let mut dir = path.as_os_str().to_owned();
    dir.push(".d");
    let dir = Path::new(&dir);
    let part = dir.join("s");
    // What a start left that was cut off.
    for removed in [std::fs::remove_file(&part), std::fs::remove_dir(dir)] {
        removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    }
    // Until its mode is set the socket lies where nobody else can come.
    std::fs::DirBuilder::new().mode(0o700).create(dir)?;
    let listener = UnixListener::bind(&part)?;
    std::fs::set_permissions(&part, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&part, path)?;
    std::fs::remove_dir(dir)?;
    Ok(listener)
}

/// Counts a connection as long as it lives.
struct Connection(Arc<Server>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One connection.
struct Session<'a> {
    server: &'a Server,
    sealing: Option<Sealing>,
}

/// What a request came to.
enum Done {
    Response(Box<Response>),
    /// Bytes that stand in the connection's buffers.
    Bytes(rpc::Bytes),
}

impl From<Response> for Done {
    fn from(response: Response) -> Self {
        Done::Response(Box::new(response))
    }
}

/// The file in work on a connection.
enum Sealing {
    Open(Box<Sealer>),
    Done(Box<Sealed>),
    Tree(Box<TreeSealer>),
    TreeDone(SealedTree),
}

impl Session<'_> {
    /// Does what is asked; bytes for the host go to `out`, which is empty.
    fn respond(&mut self, request: Request, out: &mut Out) -> Result<Done, Error> {
        let enclave = || self.server.enclave();
        let response = match request {
            Request::Hello => Response::Hello(self.server.about.clone()),
            Request::Load { items } => {
                enclave().load(&items)?;
                Response::Done
            }
            Request::Open { genesis, provider } => opened(enclave().open(genesis, provider)?),
            Request::Evidence { block_hash } => {
                let (quote, collateral) = enclave().evidence(block_hash)?;
                Response::Evidence { quote, collateral }
            }
            Request::SealBegin { content } => {
                self.sealing = None;
                let sealer = self.server.enclave().seal(content)?;
                self.sealing = Some(Sealing::Open(Box::new(sealer)));
                Response::Done
            }
            Request::SealResume { content } => {
                self.sealing = None;
                let sealer = self.server.enclave().resume(content)?;
                let segments = sealer.kept();
                self.sealing = Some(Sealing::Open(Box::new(sealer)));
                Response::Resumed { segments }
            }
            Request::SealSegment => {
                let Some(Sealing::Open(sealer)) = &mut self.sealing else { return Err(Error::NoSealing) };
                one(self.server.enclave().finish_segment(sealer)?)
            }
            Request::SealBlock { bytes } => {
                self.feed(&bytes, out)?;
                return Ok(Done::Bytes(rpc::Bytes::Sealed));
            }
            Request::SealEnd => {
                self.finish(out)?;
                return Ok(Done::Bytes(rpc::Bytes::Sealed));
            }
            Request::SealCommit { disk } => Response::Items { items: self.commit(disk)? },
            Request::Read { order, chunk, sealed } => {
                let opener = enclave().opener(&order, chunk)?;
                out.sealed = opener.open(sealed)?;
                return Ok(Done::Bytes(rpc::Bytes::Plain));
            }
            Request::Filler { disk, bytes } => {
                let grant = enclave().filler(disk, bytes)?;
                grant.fill(&mut out.sealed);
                return Ok(Done::Bytes(rpc::Bytes::Filler));
            }
            Request::FillerCommit { disk } => one(enclave().commit_filler(disk)?),
            Request::Shrink { disk, to } => Response::Items { items: enclave().shrink(disk, to)? },
            Request::Show { slot, slot_hash } => {
                let (items, draw) = enclave().show(slot, slot_hash)?;
                Response::Shown { items, draw }
            }
            Request::Samples { bytes } => {
                let progress = enclave().answer(bytes)?;
                Response::Checked { left: progress.left, items: progress.items, result: progress.result }
            }
            Request::Delete { orders } => one(enclave().delete(orders)?),
            Request::Lost { orders } => one(enclave().lose(orders)?),
            Request::Sign { statement } => {
                let (item, statement) = enclave().say(statement)?;
                Response::Signed { items: vec![item], statement }
            }
            Request::Release { root } => Response::Signature { signature: enclave().release(&root)? },
            Request::Final { root } => Response::Items { items: enclave().finalise(root)? },
            Request::State => Response::State(enclave().overview()?),
            Request::Files { after, limit } => Response::Files { files: enclave().files(after.as_ref(), limit)? },
            Request::Snapshot { from } => {
                let part = enclave().snapshot(from)?;
                Response::Snapshot { number: part.number, root: part.root, items: part.items, next: part.next }
            }
            Request::Challenge => Response::Challenge { challenge: enclave().challenge()? },
            Request::Ask { genesis, provider, challenge } => {
                let (share, quote, collateral) = enclave().ask(genesis, provider, challenge)?;
                Response::Asked { share, quote, collateral }
            }
            Request::HandOver { heir, shown } => {
                let Handed { items, share, sealed, quote, collateral } = enclave().hand_over(heir, shown)?;
                Response::Handed { items, share, sealed, quote, collateral }
            }
            Request::Inherit { share, sealed, shown } => one(enclave().inherit(share, &sealed, shown)?),
            Request::Follow { items } => {
                enclave().follow(&items)?;
                Response::Done
            }
            Request::Succeed => opened(enclave().succeed()?),
            Request::GoneDue { prev, limit } => Response::Orders { orders: enclave().gone_due(&prev, limit)? },
            Request::AuditReads { order, audited } => {
                let (chunk, nodes) = enclave().audit_reads(&order, audited)?;
                Response::AuditReads { chunk, nodes }
            }
            Request::TreeBegin { order } => {
                self.sealing = None;
                let sealer = self.server.enclave().seal_tree(order)?;
                self.sealing = Some(Sealing::Tree(Box::new(sealer)));
                Response::Done
            }
            Request::TreeChunks { sealed } => {
                let Some(Sealing::Tree(sealer)) = &mut self.sealing else { return Err(Error::NoSealing) };
                sealer.feed(sealed, out)?;
                return Ok(Done::Bytes(rpc::Bytes::Sealed));
            }
            Request::ScrubNext => Response::ScrubNext(enclave().scrub_next()?),
            Request::Scrub { stretch, bytes } => {
                let scrubbed = enclave().scrub(stretch, bytes)?;
                Response::Scrubbed { items: scrubbed.items, bad: scrubbed.bad, next: scrubbed.next }
            }
        };
        Ok(response.into())
    }

    fn feed(&mut self, bytes: &[u8], out: &mut Out) -> Result<(), Error> {
        let Some(Sealing::Open(sealer)) = &mut self.sealing else { return Err(Error::NoSealing) };
        out.sealed.reserve(crate::seal::sealed_room(bytes.len()));
        let fed = sealer.feed(bytes, out);
        // Bytes that are not those of the block wanted leave the file as it was.
        if sealer.is_spent() {
            self.sealing = None;
        }
        fed
    }

    fn finish(&mut self, out: &mut Out) -> Result<(), Error> {
        match self.sealing.take() {
            Some(Sealing::Open(sealer)) => {
                self.sealing = Some(Sealing::Done(Box::new(sealer.finish(out)?)));
                Ok(())
            }
            Some(Sealing::Tree(sealer)) => {
                self.sealing = Some(Sealing::TreeDone(sealer.finish(out)?));
                Ok(())
            }
            other => {
                self.sealing = other;
                Err(Error::NoSealing)
            }
        }
    }

    fn commit(&mut self, disk: Disk) -> Result<Vec<Vec<u8>>, Error> {
        let item = match &self.sealing {
            Some(Sealing::Done(sealed)) => self.server.enclave().hold(sealed, disk)?,
            Some(Sealing::TreeDone(sealed)) => self.server.enclave().hold_tree(sealed)?,
            _ => return Err(Error::NoSealing),
        };
        self.sealing = None;
        Ok(vec![item])
    }
}

fn opened(opened: Opened) -> Response {
    let Opened { sign_pk, channel_pk, root, items } = opened;
    Response::Opened { sign_pk, channel_pk, root, items }
}

fn one(item: Vec<u8>) -> Response {
    Response::Items { items: vec![item] }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
