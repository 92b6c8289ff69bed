//! What only an heir's enclave is asked: for the key of another, before it has a log, and to go on with that one's log.
//!
//! An heir's own log says who it is, and that is all that matters of it: the heir may be anywhere beyond it.

use std::{path::Path, sync::Arc};

use crust_enclave::rpc::{self, About, Request, Response, Shown};
use crust_protocol::{Hash, Key, attestation::Collateral};
use tokio::net::UnixStream;

use super::{Connection, Enclave, Error, Exclusive, Slot, feed, private, write_snapshot};
use crate::store::log::{Item, Log};

/// A log that several may read.
pub type SharedLog = Arc<Slot<Log>>;

/// An enclave process that has no log yet.
pub struct Bare {
    connection: Connection,
    pub about: About,
}

/// A key on its way to an heir: what the giver said and shows.
pub struct Given {
    pub share: Key,
    pub sealed: Vec<u8>,
    pub shown: Shown,
}

/// What an enclave brings to be judged by another: its quote, and the vendor's collateral if its platform has it.
pub struct Evidence {
    pub quote: Vec<u8>,
    pub collateral: Option<Collateral>,
}

/// What an heir begins its own log with.
pub struct Begun {
    pub sign_pk: Key,
    pub channel_pk: Key,
    pub items: Vec<Item>,
}

impl Bare {
    /// Connects. A process that has a log, or the beginning of one, is told to stop and comes back without.
    pub async fn connect(socket: &Path) -> Result<Bare, Error> {
        private(socket)?;
        let down = |source| Error::Down { path: socket.to_owned(), source };
        let stream = UnixStream::connect(socket).await.map_err(down)?;
        let mut connection = Connection { stream, path: socket.to_owned(), session: 0, waiting: false };
        let Response::Hello(about) = connection.ask(Request::Hello).await? else { return Err(Error::Answer("Hello")) };
        if about.protocol != rpc::PROTOCOL {
            return Err(Error::Version(about.protocol));
        }
        match connection.ask(Request::State).await {
            Err(Error::Refused(rpc::Error::NotOpen)) => Ok(Bare { connection, about }),
            Ok(_) => Err(ahead(&connection)),
            Err(error) => Err(error),
        }
    }

    /// Asks for the key of the enclave that gave the challenge; the share under which it may come, and its evidence.
    pub async fn ask(&mut self, genesis: Hash, provider: Key, challenge: Hash) -> Result<(Key, Evidence), Error> {
        match self.connection.ask(Request::Ask { genesis, provider, challenge }).await {
            Ok(Response::Asked { share, quote, collateral }) => Ok((share, Evidence { quote, collateral })),
            Ok(_) => Err(Error::Answer("Ask")),
            // It was given a key that nobody wrote down.
            Err(Error::Refused(rpc::Error::AlreadyOpen)) => Err(ahead(&self.connection)),
            Err(error) => Err(error),
        }
    }

    /// Takes the key that it was given. What follows is a log under it; the item is the first of one that begins now.
    pub async fn inherit(&mut self, given: Given) -> Result<Vec<Item>, Error> {
        let Given { share, sealed, shown } = given;
        match self.connection.ask(Request::Inherit { share, sealed, shown }).await? {
            Response::Items { items } => Ok(items),
            _ => Err(Error::Answer("Inherit")),
        }
    }

    /// Begins a log under the key that it took; `items` are those that came with the key.
    pub async fn begin(mut self, genesis: Hash, provider: Key, mut items: Vec<Item>) -> Result<Begun, Error> {
        match self.connection.ask(Request::Open { genesis, provider }).await? {
            Response::Opened { sign_pk, channel_pk, items: first, .. } => {
                items.extend(first);
                Ok(Begun { sign_pk, channel_pk, items })
            }
            _ => Err(Error::Answer("Open")),
        }
    }
}

impl Enclave {
    /// A handle on an heir's enclave: `known` are signing and channel key as they were when it was last opened.
    pub fn heir(socket: &Path, genesis: Hash, provider: Key, known: Option<(Key, Key)>, log: Log) -> Self {
        Self::of(socket, (genesis, provider), known, log, true)
    }

    /// Sees to it that the platform as it is now can unwrap the key in the log.
    pub async fn wrap_anew(&self) -> Result<(), Error> {
        match self.ask(Request::State).await? {
            Response::State(state) if state.rewrap => self.take_snapshot().await,
            _ => Ok(()),
        }
    }
}

impl Exclusive<'_> {
    /// The log, for an heir to follow.
    pub fn log(&self) -> SharedLog {
        self.line.log.clone()
    }

    /// Has the heir's enclave read another's log and go on with it, in its memory alone: nothing of it is in the heir's own
    /// log, so that the process is, once it is started anew, what it was before. Whatever comes of it, another log may be
    /// followed after it. `root` is where the chain stands: a log without it is refused. The number of the item after the
    /// log's last.
    pub async fn follow(&mut self, log: &SharedLog, root: Hash) -> Result<u64, Error> {
        let mut connection = self.connection().await?;
        self.line.next = None;
        let followed = follow(&mut connection, log, root).await;
        self.enclave.give_back(connection, followed)
    }

    /// Writes what the heir's enclave has gone on with to a log of its own, as a snapshot.
    pub async fn write_down(&mut self, log: Log) -> Result<(), Error> {
        let mut connection = self.connection().await?;
        write_snapshot(&mut connection, &SharedLog::new(Slot::new(log)), None).await?;
        self.enclave.put_back(connection);
        Ok(())
    }
}

async fn follow(connection: &mut Connection, log: &SharedLog, root: Hash) -> Result<u64, Error> {
    let next = feed(connection, log, |items| Request::Follow { items }).await?;
    let Response::Opened { .. } = connection.ask(Request::Succeed).await? else { return Err(Error::Answer("Succeed")) };
    match connection.ask(Request::GoneDue { prev: root, limit: 1 }).await {
        Ok(_) => Ok(next),
        Err(Error::Refused(rpc::Error::UnknownPrev)) => Err(Error::OtherLine(root)),
        Err(error) => Err(error),
    }
}

fn ahead(connection: &Connection) -> Error {
    connection.stop_process();
    Error::Ahead
}

#[cfg(test)]
#[path = "following_tests.rs"]
mod tests;
