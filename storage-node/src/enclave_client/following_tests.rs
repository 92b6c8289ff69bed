//! An heir on a platform that keeps no key: ended, it could never be opened again. Against a real enclave behind a real
//! socket.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use crust_enclave::{
    Constants, Handed,
    rpc::{PROTOCOL, Saying, Signed},
    server::{self, Server},
};
use crust_enclave_dev::{platform::SoftwarePlatform, release};
use crust_protocol::{development, statement::first_root};

use super::*;

const GENESIS: Hash = [1; 32];
const PROVIDER: Key = [2; 32];

/// A node's enclave, with its log.
struct Node {
    enclave: crust_enclave::Enclave,
    platform: Arc<SoftwarePlatform>,
    log: Log,
    root: Hash,
}

impl Node {
    fn start(path: &Path) -> Node {
        let platform = Arc::new(SoftwarePlatform::from_seed([3; 32]).unwrap());
        let mut enclave = crust_enclave::Enclave::new(platform.clone(), Constants::DEVELOPMENT);
        let mut log = Log::open(path.to_owned(), None).unwrap();
        let opened = enclave.open(GENESIS, PROVIDER).unwrap();
        log.append(&opened.items).unwrap();
        Node { enclave, platform, log, root: first_root(&opened.sign_pk) }
    }

    fn shown(&self, quote: Vec<u8>) -> Shown {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let collateral = self.platform.collateral(now).unwrap();
        Shown { quote, collateral, release: release::signed(1).unwrap() }
    }

    /// Gives the key to the enclave behind a socket, which begins a log; its keys.
    async fn heir(&mut self, socket: &Path, log: &Path) -> (Key, Key) {
        let mut bare = Bare::connect(socket).await.unwrap();
        let challenge = self.enclave.challenge().unwrap();
        let (heir, evidence) = bare.ask(GENESIS, PROVIDER, challenge).await.unwrap();
        let shown = self.shown(evidence.quote);
        let Handed { items, share, sealed, quote, .. } = self.enclave.hand_over(heir, shown).unwrap();
        self.log.append(&items).unwrap();
        let given = Given { share, sealed, shown: self.shown(quote) };
        let first = bare.inherit(given).await.unwrap();
        let Begun { sign_pk, channel_pk, items } = bare.begin(GENESIS, PROVIDER, first).await.unwrap();
        open_log(log).append(&items).unwrap();
        (sign_pk, channel_pk)
    }

    fn name(&mut self, heir: Key) {
        let (item, signed) = self.enclave.say(Saying::Heir { prev: self.root, heir }).unwrap();
        let Signed::Heir(statement) = signed else { panic!("{signed:?}") };
        self.log.append(&[item]).unwrap();
        self.root = statement.root;
    }
}

/// Serves an enclave without sealing keys for as long as the test runs.
fn serve(socket: &Path) {
    let platform = SoftwarePlatform::from_seed([4; 32]).unwrap().without_sealing_keys();
    let (release, measurement) = (1, development::MR_ENCLAVE);
    let about = About { protocol: PROTOCOL, release, measurement, development: true, commit: String::new() };
    let server = Server::new(about, crust_enclave::Enclave::new(Arc::new(platform), Constants::DEVELOPMENT));
    let listener = server::bind(socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let server = server.clone();
            std::thread::spawn(move || server.serve(&mut stream));
        }
    });
}

fn open_log(path: &Path) -> Log {
    Log::open(path.to_owned(), None).unwrap()
}

fn shared(path: &Path) -> SharedLog {
    SharedLog::new(Slot::new(open_log(path)))
}

#[tokio::test]
async fn an_heir_is_taken_up_wherever_its_trials_have_left_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (socket, own) = (at("enclave.sock"), at("heir.log"));
    serve(&socket);
    let mut node = Node::start(&at("node.log"));
    let (sign_pk, channel_pk) = node.heir(&socket, &own).await;
    let keys = Some((sign_pk, channel_pk));
    node.name(sign_pk);
    fs::copy(at("node.log"), at("old.log")).unwrap();
    node.name(sign_pk);

    let heir = || Enclave::heir(&socket, GENESIS, PROVIDER, keys, open_log(&own));
    let before = fs::read(&own).unwrap();
    let trying = heir();
    assert_eq!(trying.open().await.unwrap().sign_pk, sign_pk);
    let refused = trying.exclusive().await.follow(&shared(&at("old.log")), node.root).await;
    assert!(matches!(refused, Err(Error::OtherLine(_))));
    // The daemon starts anew after a trial that failed, and after one that did not.
    let next = heir().exclusive().await.follow(&shared(&at("node.log")), node.root).await.unwrap();
    assert_eq!(next, 5, "key, identity, hand-over, two names");
    let again = heir();
    assert_eq!(again.open().await.unwrap().channel_pk, channel_pk);
    // What it says of itself is not written to a log that it has left.
    let challenge = again.ask(Request::Challenge).await.unwrap();
    assert!(matches!(challenge, Response::Challenge { .. }));
    again.exclusive().await.append(vec![9_u64.to_le_bytes().to_vec()]).await.unwrap();
    assert_eq!(fs::read(&own).unwrap(), before);

    // For good: the snapshot is where the enclave is, and a node's daemon takes it up.
    let mut exclusive = again.exclusive().await;
    exclusive.follow(&shared(&at("node.log")), node.root).await.unwrap();
    exclusive.write_down(open_log(&at("next.log"))).await.unwrap();
    drop(exclusive);
    let successor = Enclave::new(&socket, GENESIS, PROVIDER, keys, open_log(&at("next.log")));
    assert_eq!(successor.open().await.unwrap().sign_pk, sign_pk);
    // A node's must be where its log is.
    let behind = Enclave::new(&socket, GENESIS, PROVIDER, keys, open_log(&own));
    assert!(matches!(behind.open().await, Err(Error::Ahead)));
}

/// An answer of an heir was lost: its log goes no further, and the heir goes on.
#[tokio::test]
async fn an_heir_whose_answer_was_lost_leaves_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let (socket, own) = (dir.path().join("enclave.sock"), dir.path().join("heir.log"));
    serve(&socket);
    let mut node = Node::start(&dir.path().join("node.log"));
    let keys = node.heir(&socket, &own).await;
    let heir = Enclave::heir(&socket, GENESIS, PROVIDER, Some(keys), open_log(&own));
    heir.open().await.unwrap();
    let before = fs::read(&own).unwrap();
    for number in [3_u64, 2] {
        heir.exclusive().await.append(vec![number.to_le_bytes().to_vec()]).await.unwrap();
    }
    assert_eq!(fs::read(&own).unwrap(), before);
}
