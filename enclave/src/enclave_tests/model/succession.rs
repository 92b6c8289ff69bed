//! Heirs in the model: the key handed over, the heir named, `succeed` on the chain, and the node's log followed, in the
//! order in which a daemon does it; and hosts that let any heir follow any log.
//!
//! One thing is not as in production: the platforms here make no quotes that a verifier takes, so between the heir's
//! question and its first item the key passes without evidence. `enclave/development/tests/handover.rs` has that part.

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use super::*;

/// The most enclaves that stand by in a history, besides those that have followed.
const STANDBYS: usize = 3;

/// An enclave on a machine of its own that got the node's key. Its log is kept, and it can be started from it again.
pub struct Standby {
    platform: u8,
    log: Vec<Vec<u8>>,
    pub sign_pk: Key,
    enclave: Enclave,
}

impl Standby {
    fn new(platform: u8, giver: &mut Host) -> Self {
        let mut enclave = Enclave::new(Arc::new(TestPlatform(platform)), CONSTANTS);
        let challenge = giver.enclave.challenge().unwrap();
        enclave.ask(GENESIS, PROVIDER, challenge).unwrap();
        // What `hand_over` does once it has judged the evidence.
        let state = giver.enclave.state_mut().unwrap();
        let key = state.state_key.clone();
        let item = state.record(Record::HandedOver { seen: 0 }).unwrap();
        giver.keep([item]);
        // What `inherit` does then.
        let first = enclave.wrap(&key).unwrap();
        enclave.inherited = Some(key.clone());
        enclave.stage = Stage::Loading(Load::Key(key));
        let opened = enclave.open(GENESIS, PROVIDER).unwrap();
        Standby { platform, log: [vec![first], opened.items].concat(), sign_pk: opened.sign_pk, enclave }
    }

    /// The same enclave, started again.
    fn start(&self) -> Enclave {
        Host::on(self.platform, self.log.clone()).enclave
    }

    /// What a node is after this heir has followed its log, or as much of it as is here.
    fn node(&self, enclave: Enclave, opened: Opened, log: &[Vec<u8>], disks: &Host) -> Node {
        assert_eq!(opened.sign_pk, self.sign_pk);
        Node::new(Host {
            enclave,
            log: [&self.log[..1], &log[1..], &opened.items].concat(),
            files: disks.files.clone(),
            trees: disks.trees.clone(),
            filler: disks.filler.clone(),
            sign_pk: self.sign_pk,
            platform: self.platform,
        })
    }
}

impl Node {
    /// What a host has of the log: all of it, or the newest snapshot and what follows it.
    fn kept(&self, whole: bool) -> Vec<Vec<u8>> {
        if whole { self.host.log.clone() } else { [&self.base, &self.host.log[self.records..]].concat() }
    }
}

fn follow(heir: &mut Enclave, log: &[Vec<u8>]) -> Result<Opened, Error> {
    heir.follow(log)?;
    heir.succeed()
}

impl World {
    /// An enclave that gets this node's key, or the last that did if enough stand by; its number.
    pub fn stand_by(&mut self, node: usize) -> usize {
        let unused = |standby: &Standby| !self.forks.keys.contains(&standby.sign_pk);
        if self.standbys.iter().filter(|standby| unused(standby)).count() >= STANDBYS {
            return self.standbys.iter().rposition(unused).unwrap();
        }
        let platform = 8 + self.standbys.len() as u8;
        self.standbys.push(Standby::new(platform, &mut self.nodes[node].host));
        self.standbys.len() - 1
    }

    /// The standby that has this key.
    fn standby(&self, key: Key) -> Option<usize> {
        self.standbys.iter().position(|standby| standby.sign_pk == key)
    }

    /// Whether the chain has given the node to another than this enclave.
    pub fn is_succeeded(&self, node: usize) -> bool {
        self.forks.key() != self.nodes[node].host.sign_pk
    }

    /// What a daemon does next for a succession, as far as the chain is: asks for an heir, waits for its name to be
    /// final, tries, calls `succeed`, waits for that, and lets the heir follow for good.
    pub fn succession(&mut self, node: usize, a: usize, b: usize) {
        let (own, fixed) = (self.nodes[node].host.sign_pk, self.forks.fixed - 1);
        if self.forks.keys[fixed] != own {
            if let Some(heir) = self.standby(self.forks.keys[fixed]) {
                self.followed(node, heir, b);
            }
            return;
        }
        if self.is_succeeded(node) {
            return;
        }
        let key = |named: Option<(Slot, Key)>| Some(named?.1);
        let named = key(self.forks.tip().heir).and_then(|key| self.standby(key));
        match named {
            Some(heir) if key(self.forks.blocks[fixed].heir) == Some(self.standbys[heir].sign_pk) => {
                if self.tried(node, heir, a) {
                    self.forks.succeed();
                }
            }
            // Its name is not final yet.
            Some(_) => {}
            None => {
                let heir = self.stand_by(node);
                let _ = self.name(node, self.standbys[heir].sign_pk, true);
            }
        }
    }

    /// The heir follows the node's log for trial, and looks whether it could speak where the chain stands.
    fn tried(&mut self, node: usize, heir: usize, a: usize) -> bool {
        let (log, root) = (self.nodes[node].kept(a.is_multiple_of(2)), self.forks.tip().root);
        let enclave = &mut self.standbys[heir].enclave;
        follow(enclave, &log).is_ok() && enclave.gone_due(&root, 1).is_ok()
    }

    /// `succeed` is final: the heir follows for good, in the run of its trial or in a new one, and is the node. It has
    /// all that the node had, and whatever was the node before is heard no more.
    fn followed(&mut self, node: usize, heir: usize, b: usize) {
        let standby = &mut self.standbys[heir];
        let fresh = standby.start();
        let mut enclave = std::mem::replace(&mut standby.enclave, fresh);
        if b.is_multiple_of(3) {
            enclave = standby.start();
        }
        let old = &self.nodes[node];
        // Of another branch than the chain's: its host has lied.
        let Ok(opened) = follow(&mut enclave, &old.kept(b.is_multiple_of(2))) else { return };
        let mut next = standby.node(enclave, opened, &old.host.log, &old.host);
        assert_eq!((next.held(), next.host.filled()), (old.held(), old.host.filled()), "nothing is lost on the way");
        if b.is_multiple_of(5) {
            next.snapshot();
        }
        let old = std::mem::replace(&mut self.nodes[node], next);
        self.successions += 1;
        // The old enclave, an older state of it, and one that the key opens on the heir's machine.
        let elsewhere = self.nodes[node].copy(b % old.host.log.len());
        for (keep, old) in [(false, old.copy(b)), (false, elsewhere), (true, old)] {
            self.nodes.push(old);
            self.goes_unheard(self.nodes.len() - 1);
            if !keep {
                self.nodes.pop();
            }
        }
    }

    /// Whatever this enclave says where the chain stands, if it says anything there, the chain does not take it.
    fn goes_unheard(&mut self, node: usize) {
        let (said, stands) = (self.spoken.len(), self.forks.blocks.len());
        let prev = self.forks.tip().root;
        let _ = (self.report(node, true), self.receipts(node, true), self.name(node, [0xaa; 32], true));
        let orders = self.nodes[node].host.enclave.gone_due(&prev, 1).unwrap_or_default();
        let _ = self.say(node, Saying::Gone { prev, orders }, true);
        self.unheard += self.spoken.len() - said;
        assert_eq!(self.forks.blocks.len(), stands, "the key that was the node's is used up");
    }

    /// An heir that is named next by liars: one that stands by, or nobody's.
    pub fn some_heir(&self, b: usize) -> Key {
        let standby = b.checked_rem(self.standbys.len()).filter(|_| !b.is_multiple_of(4));
        standby.map_or([b as u8; 32], |heir| self.standbys[heir].sign_pk)
    }

    /// An heir, that of the chain or any other, follows any log as far as its host says; what it is then, if the log
    /// names it.
    pub fn follows_any(&self, node: usize, a: usize, b: usize) -> Option<Node> {
        let chains = self.standby(self.forks.key()).filter(|_| !a.is_multiple_of(3));
        let standby = &self.standbys[chains.or((a / 8).checked_rem(self.standbys.len()))?];
        let host = &self.nodes[node].host;
        let length = if b.is_multiple_of(2) { host.log.len() } else { b.clamp(2, host.log.len()) };
        let (log, mut enclave) = (&host.log[..length], standby.start());
        let opened = follow(&mut enclave, log).ok()?;
        Some(standby.node(enclave, opened, log, host))
    }

    /// `succeed`, whoever the chain has as the heir, if it stands by; whether anything is final does not matter.
    pub fn succeed_at_once(&mut self) {
        if self.forks.tip().heir.is_some_and(|(_, heir)| self.standby(heir).is_some()) {
            self.forks.succeed();
        }
    }

    /// Signs again what any enclave said, if this one knows of it: an heir does that under its own key.
    pub fn sign_again(&mut self, node: usize, spoken: usize) {
        let (host, old) = (&self.nodes[node].host, &self.spoken[spoken]);
        if let Ok(signature) = host.enclave.release(&ends(&old.statement).1) {
            let speaker = host.sign_pk;
            self.spoken.push(Spoken { speaker, signature, ..old.clone() });
            self.submit(self.spoken.len() - 1);
        }
    }

    /// A succession that was begun goes to its end.
    pub fn settle(&mut self, node: usize) {
        if self.is_succeeded(node) {
            self.finalise(node, 1_000);
            self.succession(node, 0, 1);
        }
        assert!(!self.is_succeeded(node), "the heir is the node");
    }

    /// All of a succession, now.
    pub fn succeeded_by_another(&mut self, node: usize) {
        let (before, heir) = (self.successions, self.stand_by(node));
        let key = self.standbys[heir].sign_pk;
        // Before it something may have to be named gone.
        for _ in 0..2 {
            if self.forks.tip().heir.is_none_or(|(_, named)| named != key) {
                assert!(self.name(node, key, true).unwrap(), "what is said is taken");
            }
        }
        self.finalise(node, 1_000);
        self.succession(node, before, before);
        self.settle(node);
        assert_eq!(self.successions, before + 1);
    }
}

/// What the histories are good for: heirs follow in them and are heard, and others speak in vain where the chain
/// stands.
#[test]
fn heirs_come_up_in_the_histories() {
    const HISTORIES: usize = 60;
    let mut runner = TestRunner::deterministic();
    let mut worlds = |kinds, lived: fn(Vec<(u8, usize, usize)>) -> World| {
        let (mut followed, mut heard, mut unheard) = (0, 0, 0);
        for _ in 0..HISTORIES {
            let world = lived(steps(kinds).new_tree(&mut runner).unwrap().current());
            let by_an_heir = |step: &&Step| step.sign_pk != world.forks.keys[0] && step.after.is_some();
            heard += world.steps.iter().filter(by_an_heir).count();
            (followed, unheard) = (followed + world.successions, unheard + world.unheard);
        }
        let enough = followed > HISTORIES / 4 && heard > HISTORIES / 3 && unheard > HISTORIES;
        assert!(enough, "{followed} heirs followed, were heard {heard} times, others unheard {unheard}");
    };
    worlds(HONEST, |steps| {
        let mut world = World::new();
        steps.into_iter().for_each(|(step, a, b)| world.step(0, step, a, b));
        world
    });
    worlds(LYING, dishonest);
}
