//! The daemon's side of the enclave's socket.
//!
//! Several connections at once: one a sealing, the others from a pool. What changes the enclave's state goes through
//! one lock, so that its log items reach the log in the order in which the enclave made them, and are durable before
//! anything acts on the answer. When the enclave process was replaced, the log is loaded into the new one and opened
//! again ([`Enclave::session`] counts that); whoever waited for an answer gets a retryable error. A process that is
//! ahead of the log, because an answer was lost with a daemon or a connection, is ended: whoever keeps it running
//! starts it anew.

mod following;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex as Slot,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crust_enclave::rpc::{self, About, Request, Response};
use crust_protocol::{
    Hash, Key,
    statement::{first_root, next_root},
};
use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{Mutex, MutexGuard, watch},
    time::timeout,
};

use crate::store::log::{self, Item, Log, Overview};

pub use following::{Bare, Begun, Evidence, Given, SharedLog};

/// Time in which the enclave must answer.
const ANSWER: Duration = Duration::from_secs(120);
/// Time between two attempts to write a log that cannot be written.
const LOG_RETRY: Duration = Duration::from_secs(2);
/// Bytes of log items loaded in one frame, about.
const LOAD: usize = 4 << 20;
/// Connections kept for reuse.
const POOL: usize = 8;

/// What can go wrong between daemon and enclave.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the enclave at {path} does not answer ({source}); is its process running?")]
    Down { path: PathBuf, source: io::Error },
    #[error("the enclave's socket {path} is open to other users (mode {mode:o}); give it or its directory mode 0700")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("the enclave speaks protocol {0}, this daemon {ours}; install programs of one release", ours = rpc::PROTOCOL)]
    Version(u16),
    #[error("the enclave answered something else than was asked ({0})")]
    Answer(&'static str),
    #[error("the enclave process is ahead of the log and was told to stop; it takes up the log when it runs again")]
    Ahead,
    #[error("the enclave: {0}")]
    Refused(rpc::Error),
    #[error(
        "the log does not hold the node's last statement on the chain ({}): it is an old copy, or of another node. Find \
         the newest; with this one the node could never speak again", hex::encode(.0)
    )]
    OtherLine(Hash),
    #[error(transparent)]
    Log(#[from] log::Error),
}

impl Error {
    /// What the enclave said no to, if it did.
    pub fn refusal(&self) -> Option<&rpc::Error> {
        match self {
            Error::Refused(error) => Some(error),
            _ => None,
        }
    }
}

/// Who the enclave is.
#[derive(Clone, Debug)]
pub struct Identity {
    pub sign_pk: Key,
    pub channel_pk: Key,
    /// What it said of itself. Only a quote proves it.
    pub about: About,
}

/// A handle on the enclave.
#[derive(Clone)]
pub struct Enclave {
    inner: Arc<Inner>,
}

struct Inner {
    socket: PathBuf,
    genesis: Hash,
    provider: Key,
    /// The lock of all that changes the enclave's state.
    line: Mutex<Line>,
    idle: Slot<Vec<Connection>>,
    session: AtomicU64,
    identity: watch::Sender<Option<Identity>>,
    /// The channel keys of enclaves that this daemon opened before it was started anew, by their signing keys.
    known: Option<(Key, Key)>,
    /// Whether it is an heir's.
    heir: bool,
    log: watch::Sender<LogStatus>,
}

/// The log as the others see it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct LogStatus {
    pub overview: Overview,
    /// It should begin anew.
    pub overgrown: bool,
    /// Why it cannot be written, or what else is wrong with it.
    pub error: Option<String>,
}

/// The log and where it stands.
struct Line {
    log: Arc<Slot<Log>>,
    /// The number of the next item, as soon as an enclave was opened. `None` of an heir that has left its log: what it says
    /// is in its memory alone.
    next: Option<u64>,
}

/// One connection to an enclave that is open.
pub struct Connection {
    stream: UnixStream,
    path: PathBuf,
    /// The session in which it was made.
    session: u64,
    /// A request was sent ahead, and its answer is still to come.
    waiting: bool,
}

/// What an enclave that is open has told.
struct Opened {
    sign_pk: Key,
    channel_pk: Key,
    root: Hash,
}

/// The right to change the enclave's state; others wait.
pub struct Exclusive<'a> {
    enclave: &'a Enclave,
    line: MutexGuard<'a, Line>,
}

impl Enclave {
    /// A handle on the enclave behind a socket. Nothing is connected yet. `known` are signing and channel key as they
    /// were when this node's enclave was last opened.
    pub fn new(socket: &Path, genesis: Hash, provider: Key, known: Option<(Key, Key)>, log: Log) -> Self {
        Self::of(socket, (genesis, provider), known, log, false)
    }

    fn of(socket: &Path, (genesis, provider): (Hash, Key), known: Option<(Key, Key)>, log: Log, heir: bool) -> Self {
        let status = LogStatus { overview: log.overview(), overgrown: log.is_overgrown(), error: log.trouble() };
        let inner = Inner {
            socket: socket.to_owned(),
            genesis,
            provider,
            line: Mutex::new(Line { log: Arc::new(Slot::new(log)), next: Some(0) }),
            idle: Slot::default(),
            session: AtomicU64::new(0),
            identity: watch::Sender::new(None),
            known,
            heir,
            log: watch::Sender::new(status),
        };
        Enclave { inner: Arc::new(inner) }
    }

    /// Connects and, if the process is new, loads the log and opens it.
    pub async fn open(&self) -> Result<Identity, Error> {
        let connection = self.connection().await?;
        self.put_back(connection);
        self.identity().ok_or(Error::Answer("no identity"))
    }

    /// Who the enclave is, once it was opened.
    pub fn identity(&self) -> Option<Identity> {
        self.inner.identity.borrow().clone()
    }

    /// How many times an enclave process was opened. What was begun in an earlier session is gone.
    pub fn session(&self) -> u64 {
        self.inner.session.load(Ordering::Acquire)
    }

    /// The log, as it is after each change.
    pub fn log(&self) -> watch::Receiver<LogStatus> {
        self.inner.log.subscribe()
    }

    /// Has the log begin anew with a snapshot; nothing else is said meanwhile.
    pub async fn take_snapshot(&self) -> Result<(), Error> {
        self.exclusive().await.take_snapshot().await
    }

    /// Asks something that changes no state.
    pub async fn ask(&self, request: Request) -> Result<Response, Error> {
        let mut connection = self.connection().await?;
        let answer = connection.ask(request).await;
        self.give_back(connection, answer)
    }

    /// Asks for nothing but bytes, which are received where they shall be; how many there were.
    pub async fn ask_bytes(&self, request: Request, kind: rpc::Bytes, into: &mut [u8]) -> Result<usize, Error> {
        let mut connection = self.connection().await?;
        let answer = connection.ask_bytes(request, kind, into).await;
        self.give_back(connection, answer)
    }

    fn give_back<T>(&self, connection: Connection, answer: Result<T, Error>) -> Result<T, Error> {
        match &answer {
            Ok(_) | Err(Error::Refused(_)) => self.put_back(connection),
            // Its process is gone, and so are the others' connections to it.
            Err(_) => self.forget_pool(),
        }
        answer
    }

    /// Asks something that changes the state; its log items are durable when this returns.
    pub async fn change(&self, request: Request) -> Result<Response, Error> {
        self.exclusive().await.change(request).await
    }

    /// Takes the lock of all that changes the state.
    pub async fn exclusive(&self) -> Exclusive<'_> {
        Exclusive { enclave: self, line: self.inner.line.lock().await }
    }

    /// A connection of one's own, for a sealing.
    pub async fn connection(&self) -> Result<Connection, Error> {
        if let Some(connection) = self.pooled() {
            return Ok(connection);
        }
        match self.connect().await? {
            Peer::Open(connection) => Ok(connection),
            Peer::New(_) => self.exclusive().await.connection().await,
        }
    }

    fn pooled(&self) -> Option<Connection> {
        let session = self.session();
        let mut idle = self.inner.idle.lock().ok()?;
        idle.retain(|connection| connection.session == session && !connection.closed());
        idle.pop()
    }

    fn forget_pool(&self) {
        if let Ok(mut idle) = self.inner.idle.lock() {
            idle.clear();
        }
    }

    fn put_back(&self, connection: Connection) {
        if let Ok(mut idle) = self.inner.idle.lock()
            && idle.len() < POOL
            && connection.session == self.session()
        {
            idle.push(connection);
        }
    }

    async fn connect(&self) -> Result<Peer, Error> {
        let path = &self.inner.socket;
        private(path)?;
        let stream = UnixStream::connect(path).await.map_err(|source| Error::Down { path: path.clone(), source })?;
        // Read before it is known whether the process is opened: one opened later than that counts as new.
        let session = self.session();
        let mut connection = Connection { stream, path: path.clone(), session, waiting: false };
        match connection.ask(Request::State).await {
            Ok(Response::State(_)) if session > 0 => Ok(Peer::Open(connection)),
            Ok(Response::State(_)) | Err(Error::Refused(rpc::Error::NotOpen)) => Ok(Peer::New(connection)),
            Ok(_) => Err(Error::Answer("State")),
            Err(error) => Err(error),
        }
    }
}

enum Peer {
    Open(Connection),
    /// Not opened, or not by this daemon.
    New(Connection),
}

impl Exclusive<'_> {
    /// Asks something that changes the state, on a pooled connection.
    pub async fn change(&mut self, request: Request) -> Result<Response, Error> {
        let mut connection = self.connection().await?;
        let answer = self.change_on(&mut connection, request).await;
        match &answer {
            Ok(_) | Err(Error::Refused(_)) => self.enclave.put_back(connection),
            Err(_) => self.enclave.forget_pool(),
        }
        answer
    }

    /// The same on a connection of the caller's.
    pub async fn change_on(&mut self, connection: &mut Connection, request: Request) -> Result<Response, Error> {
        if connection.session != self.enclave.session() {
            return Err(connection.down(io::ErrorKind::ConnectionReset.into()));
        }
        let response = connection.ask(request).await?;
        if let Err(error) = self.append(items(&response).to_vec()).await {
            connection.stop_process();
            self.enclave.forget_pool();
            return Err(error);
        }
        Ok(response)
    }

    /// Writes the enclave's snapshot to a new log, which takes the old one's place when it is whole.
    async fn take_snapshot(&mut self) -> Result<(), Error> {
        self.settle().await;
        let mut connection = self.connection().await?;
        // The log is not what the enclave would give a snapshot of.
        let Some(next) = self.line.next else { return Ok(()) };
        let written = write_snapshot(&mut connection, &self.line.log, Some(next)).await;
        self.note();
        match &written {
            Ok(()) | Err(Error::Log(_)) => self.enclave.put_back(connection),
            Err(Error::Ahead) => {
                connection.stop_process();
                self.enclave.forget_pool();
            }
            Err(_) => (),
        }
        written
    }

    async fn connection(&mut self) -> Result<Connection, Error> {
        if let Some(connection) = self.enclave.pooled() {
            return Ok(connection);
        }
        match self.enclave.connect().await? {
            Peer::Open(connection) => Ok(connection),
            Peer::New(connection) => self.open(connection).await,
        }
    }

    /// Brings an enclave process to the log's end.
    async fn open(&mut self, mut connection: Connection) -> Result<Connection, Error> {
        let Response::Hello(about) = connection.ask(Request::Hello).await? else { return Err(Error::Answer("Hello")) };
        if about.protocol != rpc::PROTOCOL {
            return Err(Error::Version(about.protocol));
        }
        self.settle().await;
        let opened = match connection.ask(Request::State).await {
            Ok(Response::State(state)) => self.resume(&connection, state).await?,
            Ok(_) => return Err(Error::Answer("State")),
            Err(Error::Refused(rpc::Error::NotOpen)) => self.load_and_open(&mut connection).await?,
            Err(error) => return Err(error),
        };
        let Opened { sign_pk, channel_pk, root } = opened;
        tracing::info!(sign_pk = hex::encode(sign_pk), root = hex::encode(root), "the enclave is open");
        self.enclave.inner.identity.send_replace(Some(Identity { sign_pk, channel_pk, about }));
        let session = self.enclave.inner.session.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        Ok(Connection { session, ..connection })
    }

    /// Takes up a process that was opened by a daemon before this one, if the log has all that it has said. An heir's is
    /// taken up wherever it is: who it is stands in its log, and nothing else that matters. Ended, one whose platform keeps
    /// no key would have lost it.
    async fn resume(&mut self, connection: &Connection, state: rpc::State) -> Result<Opened, Error> {
        let known = match self.enclave.identity() {
            Some(identity) => Some((identity.sign_pk, identity.channel_pk)),
            None => self.enclave.inner.known,
        };
        if let Some((sign_pk, channel_pk)) = known
            && sign_pk == state.sign_pk
            && let (root, next) = self.root_of_log(&sign_pk).await?
            && (root == state.root || self.enclave.inner.heir)
        {
            self.line.next = (root == state.root).then_some(next);
            return Ok(Opened { sign_pk, channel_pk, root: state.root });
        }
        connection.stop_process();
        Err(Error::Ahead)
    }

    async fn load_and_open(&mut self, connection: &mut Connection) -> Result<Opened, Error> {
        self.line.next = Some(self.load(connection).await?);
        let request = Request::Open { genesis: self.enclave.inner.genesis, provider: self.enclave.inner.provider };
        let Response::Opened { sign_pk, channel_pk, root, items } = connection.ask(request).await? else {
            return Err(Error::Answer("Open"));
        };
        self.append(items).await?;
        Ok(Opened { sign_pk, channel_pk, root })
    }

    /// The root after the log's last item, and the number of the next. Item 0 is no record: it wraps the key of the others.
    async fn root_of_log(&self, sign_pk: &Key) -> Result<(Hash, u64), Error> {
        let (begin, log) = (first_root(sign_pk), self.line.log.clone());
        let root = move || {
            lock(&log, |log| {
                let (mut root, mut last) = log.overview().snapshot.map_or((begin, 0), |it| (it.root, it.record));
                let mut from = log.begin();
                loop {
                    let (items, next) = log.read(from, LOAD)?;
                    if items.is_empty() {
                        return Ok((root, last.saturating_add(1)));
                    }
                    for item in items {
                        // Those of a snapshot stand for the records up to it.
                        if let Some(number) = number(&item).filter(|number| *number > last) {
                            (root, last) = (next_root(&root, &item), number);
                        }
                    }
                    from = next;
                }
            })
        };
        Ok(blocking(root).await?)
    }

    /// Loads the whole log; the number of the next item.
    async fn load(&mut self, connection: &mut Connection) -> Result<u64, Error> {
        feed(connection, &self.line.log, |items| Request::Load { items }).await
    }

    /// Makes items durable. Does not give up on a disk: the enclave is past them, so nothing else could be appended
    /// either. But items that do not follow the log's last (an answer was lost) would break it for ever: an heir leaves it
    /// then as it is.
    async fn append(&mut self, items: Vec<Item>) -> Result<(), Error> {
        let Some(mut next) = self.line.next.filter(|_| !items.is_empty()) else { return Ok(()) };
        for item in &items {
            if number(item) != Some(next) {
                if !self.enclave.inner.heir {
                    return Err(Error::Ahead);
                }
                self.line.next = None;
                return Ok(());
            }
            next = next.saturating_add(1);
        }
        self.line.next = Some(next);
        let log = self.line.log.clone();
        let result = blocking(move || lock(&log, |log| log.append(&items))).await;
        match result {
            Ok(()) => self.note(),
            Err(error) => {
                self.trouble(error.to_string());
                self.settle().await;
            }
        }
        Ok(())
    }

    /// Waits until what is pending is written.
    async fn settle(&mut self) {
        loop {
            let log = self.line.log.clone();
            match blocking(move || lock(&log, Log::flush)).await {
                Ok(()) => return self.note(),
                Err(error) => self.trouble(error.to_string()),
            }
            tokio::time::sleep(LOG_RETRY).await;
        }
    }

    /// Tells what has become of the log, which is written.
    fn note(&self) {
        if let Ok(log) = self.line.log.lock() {
            let (overview, error) = (log.overview(), log.trouble());
            overview.measure();
            self.enclave.inner.log.send_replace(LogStatus { overview, overgrown: log.is_overgrown(), error });
        }
    }

    fn trouble(&self, error: String) {
        tracing::error!("the enclave's log cannot be written: {error}; nothing is said until it can");
        self.enclave.inner.log.send_modify(|status| status.error = Some(error));
    }
}

/// The number that an item states.
fn number(item: &Item) -> Option<u64> {
    item.first_chunk().map(|number| u64::from_le_bytes(*number))
}

/// Sends all items of a log, in order; the number of the next one.
async fn feed(
    connection: &mut Connection,
    log: &SharedLog,
    request: impl Fn(Vec<Item>) -> Request,
) -> Result<u64, Error> {
    let (mut from, mut next) = (lock(log, |log| Ok(log.begin()))?, 0);
    loop {
        let reading = log.clone();
        let (items, to) = blocking(move || lock(&reading, |log| log.read(from, LOAD))).await?;
        let Some(last) = items.last() else { return Ok(next) };
        next = number(last).map_or(next, |number| number.saturating_add(1));
        from = to;
        let (mut frame, mut bytes) = (Vec::new(), 0_usize);
        for item in items {
            bytes = bytes.saturating_add(item.len());
            if bytes > LOAD && !frame.is_empty() {
                bytes = item.len();
                send(connection, request(std::mem::take(&mut frame))).await?;
            }
            frame.push(item);
        }
        send(connection, request(frame)).await?;
    }
}

/// Writes an enclave's snapshot to a new log, which takes the place of this one when it is whole. The snapshot must go
/// as far as the log, if that has anything: up to the record before `next`.
async fn write_snapshot(connection: &mut Connection, log: &SharedLog, next: Option<u64>) -> Result<(), Error> {
    let writing = log.clone();
    let mut draft = blocking(move || lock(&writing, Log::draft)).await?;
    let mut from = 0;
    loop {
        let answer = connection.ask(Request::Snapshot { from }).await?;
        let Response::Snapshot { number, root, items, next: further } = answer else {
            return Err(Error::Answer("Snapshot"));
        };
        if next.is_some_and(|next| number.checked_add(1) != Some(next)) {
            return Err(Error::Ahead);
        }
        let append = move || draft.append(&items).map(|()| draft);
        draft = blocking(append).await?;
        let Some(further) = further else {
            let log = log.clone();
            return Ok(blocking(move || lock(&log, |log| log.replace(draft, number, root))).await?);
        };
        from = further;
    }
}

async fn send(connection: &mut Connection, items: Request) -> Result<(), Error> {
    match connection.ask(items).await? {
        Response::Done => Ok(()),
        _ => Err(Error::Answer("items of a log")),
    }
}

impl Connection {
    /// One request and its response.
    pub async fn ask(&mut self, request: Request) -> Result<Response, Error> {
        if self.waiting {
            return Err(Error::Answer("a request sent ahead"));
        }
        self.exchange(Some(request), true).await?.ok_or(Error::Answer("nothing"))
    }

    /// One request and its response, which is nothing but bytes: those are received where they shall be. How many there
    /// were; more than there is room for are an error.
    pub async fn ask_bytes(&mut self, request: Request, kind: rpc::Bytes, into: &mut [u8]) -> Result<usize, Error> {
        if self.waiting {
            return Err(Error::Answer("a request sent ahead"));
        }
        let exchange = async {
            let frame = rpc::encode(&request).map_err(io::Error::other)?;
            drop(request);
            self.stream.write_all(&frame).await?;
            let length = body_length(&mut self.stream).await?;
            let mut start = [0; rpc::BYTES_HEAD];
            let start = start.get_mut(..length.min(rpc::BYTES_HEAD)).unwrap_or_default();
            self.stream.read_exact(start).await?;
            let Some(head) = rpc::head_of(kind, start, length) else {
                let mut body = start.to_vec();
                body.resize(length, 0);
                self.stream.read_exact(body.get_mut(start.len()..).unwrap_or_default()).await?;
                return rpc::decode(&body).map(Err).map_err(io::Error::other);
            };
            let (bytes, first) = (length.saturating_sub(head), start.get(head..).unwrap_or_default());
            let room = into.get_mut(..bytes).ok_or(io::ErrorKind::FileTooLarge)?;
            let (begin, rest) = room.split_at_mut(first.len());
            begin.copy_from_slice(first);
            self.stream.read_exact(rest).await?;
            Ok(Ok(bytes))
        };
        match timeout(ANSWER, exchange).await {
            Ok(Ok(Ok(bytes))) => Ok(bytes),
            Ok(Ok(Err(Response::Error(error)))) => Err(Error::Refused(error)),
            // Its connection is closed with it.
            Ok(Ok(Err(_))) => Err(Error::Answer("bytes")),
            Ok(Err(error)) => Err(self.down(error)),
            Err(_) => Err(self.down(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Sends a request, and takes the response to the one sent ahead of it, if there is one: so the enclave always has
    /// work. [`Connection::last_answer`] takes that of the last.
    pub async fn ask_ahead(&mut self, request: Request) -> Result<Option<Response>, Error> {
        let waiting = std::mem::replace(&mut self.waiting, true);
        self.exchange(Some(request), waiting).await
    }

    /// The response to the request that was sent ahead, if there is one.
    pub async fn last_answer(&mut self) -> Result<Option<Response>, Error> {
        let waiting = std::mem::take(&mut self.waiting);
        self.exchange(None, waiting).await
    }

    /// Sends and receives at the same time: neither side waits until the other has read all.
    async fn exchange(&mut self, request: Option<Request>, answered: bool) -> Result<Option<Response>, Error> {
        let (mut reader, mut writer) = self.stream.split();
        let send = async {
            let Some(request) = request else { return Ok(()) };
            let frame = rpc::encode(&request).map_err(io::Error::other)?;
            drop(request);
            writer.write_all(&frame).await
        };
        let receive = async {
            if !answered {
                return Ok(None);
            }
            let mut body = vec![0; body_length(&mut reader).await?];
            reader.read_exact(&mut body).await?;
            rpc::decode(&body).map(Some).map_err(io::Error::other)
        };
        match timeout(ANSWER, async { tokio::try_join!(send, receive) }).await {
            Ok(Ok(((), Some(Response::Error(error))))) => Err(Error::Refused(error)),
            Ok(Ok(((), response))) => Ok(response),
            Ok(Err(error)) => Err(self.down(error)),
            Err(_) => Err(self.down(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Tells the process at the other end to stop, so that whoever keeps it running starts it anew.
    fn stop_process(&self) {
        let process = self.stream.peer_cred().ok().and_then(|peer| peer.pid()).and_then(Pid::from_raw);
        if let Some(process) = process.filter(|process| *process != rustix::process::getpid()) {
            tracing::warn!(pid = process.as_raw_nonzero(), "the enclave is ahead of the log; it is told to stop");
            rustix::process::kill_process(process, Signal::TERM).ok();
        }
    }

    /// The enclave session in which it was made.
    pub fn session(&self) -> u64 {
        self.session
    }

    /// Whether the other side has hung up (or has said something unasked).
    fn closed(&self) -> bool {
        !matches!(self.stream.try_read(&mut [0; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    fn down(&self, source: io::Error) -> Error {
        Error::Down { path: self.path.clone(), source }
    }
}

/// The length of the next frame's body.
async fn body_length(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).await?;
    rpc::body_length(prefix).map_err(io::Error::other)
}

/// The log items in a response.
fn items(response: &Response) -> &[Item] {
    match response {
        Response::Opened { items, .. }
        | Response::Items { items }
        | Response::Shown { items, .. }
        | Response::Checked { items, .. }
        | Response::Signed { items, .. }
        | Response::Handed { items, .. }
        | Response::Scrubbed { items, .. } => items,
        _ => &[],
    }
}

/// Refuses a socket that other users could open.
fn private(path: &Path) -> Result<(), Error> {
    let mode = |path: &Path| match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.permissions().mode() & 0o777),
        Err(source) => Err(Error::Down { path: path.to_owned(), source }),
    };
    let (socket, directory) = (mode(path)?, mode(path.parent().unwrap_or(Path::new(".")))?);
    if socket & 0o077 == 0 || directory & 0o077 == 0 {
        Ok(())
    } else {
        Err(Error::Exposed { path: path.to_owned(), mode: socket })
    }
}

fn lock<T>(log: &Slot<Log>, work: impl FnOnce(&mut Log) -> Result<T, log::Error>) -> Result<T, log::Error> {
    // A poisoned log was in the middle of a file operation: what is pending is still known and is written again.
    work(&mut log.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, log::Error> + Send + 'static,
) -> Result<T, log::Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(log::Error::Io { path: PathBuf::from("the log"), source: io::Error::other(error) }),
    }
}
