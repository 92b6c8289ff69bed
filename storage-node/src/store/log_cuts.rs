//! The log cut at every step that it takes on its disks, with whatever a crash leaves of what was not synced yet: what
//! was acknowledged is in it, and a real enclave goes on from there.
//!
//! A story is told with a real enclave, and every file operation written down. Then each prefix of them is played on a
//! model of two disks that keep nothing but what was synced, and of the rest none, all, a part, or zeros; and names as
//! far as their folder got. What starting the log again does to the disks is cut in the same way.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crust_enclave::{Constants, Enclave, rpc::Saying, seal::Out};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::{Content, OrderId},
    statement::{first_root, next_root},
};

use super::{
    file::record::{self, Step},
    *,
};

/// How much of what was not synced a crash leaves.
#[derive(Clone, Copy, Debug)]
enum Left {
    Nothing,
    All,
    /// Half of the last write, all before it.
    Torn,
    /// The file has its length, and zeros where it grew.
    Zeros,
    /// The last write alone.
    Last,
}

const LEFT: [Left; 5] = [Left::Nothing, Left::All, Left::Torn, Left::Zeros, Left::Last];

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
}

#[derive(Clone, Default)]
struct Inode {
    synced: Vec<u8>,
    changes: Vec<Change>,
}

impl Inode {
    fn after(&self, changes: &[Change]) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for change in changes {
            match change {
                Change::Write(offset, written) => {
                    let from = *offset as usize;
                    bytes.resize(bytes.len().max(from + written.len()), 0);
                    bytes[from..from + written.len()].copy_from_slice(written);
                }
                Change::Cut(length) => bytes.resize(*length as usize, 0),
            }
        }
        bytes
    }

    fn left(&self, left: Left) -> Vec<u8> {
        let all = self.after(&self.changes);
        match (left, self.changes.split_last()) {
            (_, None) | (Left::Nothing, _) => self.synced.clone(),
            (Left::All, _) => all,
            (Left::Last, Some((last, _))) => self.after(std::slice::from_ref(last)),
            (Left::Torn, Some((Change::Write(offset, bytes), before))) => {
                let half = Change::Write(*offset, bytes[..bytes.len() / 2].to_vec());
                self.after(&[before, &[half]].concat())
            }
            (Left::Torn, Some((Change::Cut(_), before))) => self.after(before),
            (Left::Zeros, _) => {
                let mut bytes = self.synced.clone();
                bytes.resize(bytes.len().max(all.len()), 0);
                bytes
            }
        }
    }
}

enum Name {
    Is(PathBuf, usize),
    Moves(PathBuf, PathBuf),
    Goes(PathBuf),
}

impl Name {
    fn folder(&self) -> &Path {
        let (Name::Is(path, _) | Name::Moves(path, _) | Name::Goes(path)) = self;
        path.parent().unwrap()
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Name::Is(path, inode) => drop(names.insert(path.clone(), *inode)),
            Name::Moves(from, to) => {
                let inode = names.remove(from).unwrap();
                names.insert(to.clone(), inode);
            }
            Name::Goes(path) => drop(names.remove(path)),
        }
    }
}

/// Two disks on which nothing lasts that was not synced.
#[derive(Default)]
struct Disks {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    lasting: BTreeMap<PathBuf, usize>,
    changes: Vec<Name>,
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

impl Disks {
    fn of(files: &Files) -> Disks {
        let inodes = files.values().map(|bytes| Inode { synced: bytes.clone(), changes: Vec::new() }).collect();
        let names: BTreeMap<_, _> = files.keys().cloned().zip(0..).collect();
        Disks { inodes, lasting: names.clone(), names, changes: Vec::new() }
    }

    fn name(&mut self, name: Name) {
        name.apply(&mut self.names);
        self.changes.push(name);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Create(path) => {
                self.inodes.push(Inode::default());
                self.name(Name::Is(path.clone(), self.inodes.len() - 1));
            }
            Step::Write(path, offset, bytes) => {
                self.inodes[self.names[path]].changes.push(Change::Write(*offset, bytes.clone()));
            }
            Step::Cut(path, length) => self.inodes[self.names[path]].changes.push(Change::Cut(*length)),
            Step::Sync(path) => {
                let inode = &mut self.inodes[self.names[path]];
                inode.synced = inode.after(&inode.changes);
                inode.changes.clear();
            }
            Step::Rename(from, to) => self.name(Name::Moves(from.clone(), to.clone())),
            Step::Remove(path) => self.name(Name::Goes(path.clone())),
            Step::SyncFolder(folder) => {
                let (now, later) = std::mem::take(&mut self.changes).into_iter().partition(|it| it.folder() == folder);
                self.changes = later;
                let now: Vec<Name> = now;
                now.iter().for_each(|name| name.apply(&mut self.lasting));
            }
            Step::Mark(_) => (),
        }
    }

    /// Everything that a crash at this moment can leave, each once.
    fn crashes(&self) -> BTreeSet<Files> {
        let folders: Vec<&Path> = self.changes.iter().map(Name::folder).collect::<BTreeSet<_>>().into_iter().collect();
        let in_folder = |folder: &Path| self.changes.iter().filter(move |name| name.folder() == folder).count();
        let mut crashes = BTreeSet::new();
        let ways: usize = folders.iter().map(|folder| in_folder(folder) + 1).product();
        for mut way in 0..ways {
            let mut names = self.lasting.clone();
            for folder in &folders {
                let kept = way % (in_folder(folder) + 1);
                way /= in_folder(folder) + 1;
                let changes = self.changes.iter().filter(|name| name.folder() == *folder);
                changes.take(kept).for_each(|name| name.apply(&mut names));
            }
            for left in LEFT {
                let bytes = |inode: &usize| self.inodes[*inode].left(left);
                crashes.insert(names.iter().map(|(path, inode)| (path.clone(), bytes(inode))).collect());
            }
        }
        crashes
    }
}

/// The machine of the story.
struct Machine {
    first: PathBuf,
    copy: Option<PathBuf>,
    platform: Arc<SoftwarePlatform>,
}

impl Machine {
    fn new(dir: &Path, copy: bool) -> Machine {
        for disk in ["a", "b"] {
            fs::create_dir_all(dir.join(disk)).unwrap();
        }
        let platform = Arc::new(SoftwarePlatform::from_seed([3; 32]).unwrap());
        Machine { first: dir.join("a/log"), copy: copy.then(|| dir.join("b/log")), platform }
    }

    fn open(&self) -> Result<Log, Error> {
        let copy = self.copy.clone().map(|path| CopyAt { path, is_there: Box::new(|| true) });
        Log::open(self.first.clone(), copy)
    }

    fn load(&self, log: &Log) -> Enclave {
        let mut enclave = Enclave::new(self.platform.clone(), Constants::DEVELOPMENT);
        enclave.load(&items(log)).unwrap();
        enclave
    }

    /// Puts files in the place of all that lies there.
    fn put(&self, files: &Files) {
        for folder in [Some(&self.first), self.copy.as_ref()].into_iter().flatten().map(|path| path.parent().unwrap()) {
            for entry in fs::read_dir(folder).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
        files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
}

fn items(log: &Log) -> Vec<Item> {
    let mut all = Vec::new();
    let mut from = log.begin();
    loop {
        let (items, next) = log.read(from, 100).unwrap();
        if items.is_empty() {
            return all;
        }
        all.extend(items);
        from = next;
    }
}

fn seal(enclave: &mut Enclave, nonce: u64) -> (OrderId, Vec<u8>, Item) {
    let bytes = nonce.to_le_bytes();
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, &bytes);
    let audit_root = *blake3::hash(&bytes).as_bytes();
    let content = Content { client: [1; 32], nonce, cid, size: 8, audit_root, flags: 0 };
    let (order, mut out) = (content.id(), Out::default());
    let mut sealer = enclave.seal(content).unwrap();
    sealer.feed(&bytes, &mut out).unwrap();
    let sealed = sealer.finish(&mut out).unwrap();
    let item = enclave.hold(&sealed, [1; 16]).unwrap();
    (order, out.sealed, item)
}

/// Has the enclave's snapshot take the log's place, as the daemon does.
fn renew(log: &mut Log, enclave: &mut Enclave) {
    let mut draft = log.draft().unwrap();
    let mut from = Some(0);
    while let Some(at) = from {
        let part = enclave.snapshot(at).unwrap();
        draft.append(&part.items).unwrap();
        from = part.next;
        if from.is_none() {
            log.replace(draft, part.number, part.root).unwrap();
            return;
        }
    }
}

/// What was done, what was acknowledged at each mark, and every sealed byte that was ever given out.
struct Story {
    steps: Vec<Step>,
    roots: Vec<Hash>,
    sealed: Vec<Vec<u8>>,
}

fn tell(machine: &Machine) -> Story {
    record::begin();
    let (mut roots, mut sealed) = (Vec::new(), Vec::new());
    let mut log = machine.open().unwrap();
    let mut enclave = machine.load(&log);
    let opened = enclave.open([2; 32], [4; 32]).unwrap();
    log.append(&opened.items).unwrap();
    let mut mark = |enclave: &Enclave| {
        roots.push(enclave.overview().unwrap().root);
        record::add(Step::Mark(roots.len() - 1));
    };
    mark(&enclave);
    for round in 0..3 {
        let (order, bytes, item) = seal(&mut enclave, round);
        sealed.push(bytes);
        log.append(&[item]).unwrap();
        mark(&enclave);
        let said = enclave.say(Saying::Receipts { prev: first_root(&opened.sign_pk), orders: vec![order] });
        log.append(&[said.unwrap().0]).unwrap();
        mark(&enclave);
        if round < 2 {
            renew(&mut log, &mut enclave);
            mark(&enclave);
        }
    }
    Story { steps: record::end(), roots, sealed }
}

/// Starts on what a crash has left; the steps that the start took. `acknowledged` is the last mark passed.
fn start(machine: &Machine, story: &Story, files: &Files, acknowledged: Option<usize>, at: &str) -> Vec<Step> {
    machine.put(files);
    record::begin();
    let mut log = machine.open().unwrap_or_else(|error| panic!("{at}: {error}"));
    let steps = record::end();
    let mut enclave = machine.load(&log);
    let begins = log.is_empty();
    let opened = enclave.open([2; 32], [4; 32]).unwrap();
    if begins {
        assert_eq!(acknowledged, None, "{at}: all is gone");
        return steps;
    }
    // Everything acknowledged, and at most what was on its way.
    let root = enclave.overview().unwrap().root;
    let known = acknowledged.unwrap_or_default()..(acknowledged.map_or(0, |mark| mark + 1) + 1).min(story.roots.len());
    assert!(story.roots[known.clone()].contains(&root), "{at}: not what was said at one of {known:?}");
    // What an operator sees, and what a daemon compares its enclave with, follows from the file alone.
    let snapshot = log.overview().snapshot;
    let after = items(&log).into_iter().filter(|item| {
        let number = u64::from_le_bytes(*item.first_chunk().unwrap());
        snapshot.as_ref().map_or(number > 0, |snapshot| number > snapshot.record)
    });
    let first = snapshot.as_ref().map_or_else(|| first_root(&opened.sign_pk), |it| it.root);
    assert_eq!(after.fold(first, |root, item| next_root(&root, &item)), root, "{at}");
    // It goes on, and no byte comes twice.
    record::begin();
    log.append(&opened.items).unwrap();
    let (_, bytes, item) = seal(&mut enclave, 99);
    log.append(&[item]).unwrap();
    assert!(!story.sealed.contains(&bytes));
    renew(&mut log, &mut enclave);
    let root = enclave.overview().unwrap().root;
    drop(log);
    let mut again = machine.load(&machine.open().unwrap());
    again.open([2; 32], [4; 32]).unwrap();
    record::end();
    assert_eq!(again.overview().unwrap().root, root, "{at}");
    steps
}

/// Every cut of these steps, and of what each start on the rest does.
fn cut(machine: &Machine, story: &Story, mut disks: Disks, steps: &[Step], known: Option<usize>, again: bool) -> usize {
    let (mut acknowledged, mut starts) = (known, 0);
    let mut seen = BTreeSet::new();
    for at in 0..=steps.len() {
        for files in disks.crashes() {
            // What a crash leaves is the same after many steps.
            if seen.insert((files.clone(), acknowledged)) {
                let place =
                    format!("cut at {at} of {}, after {:?}", steps.len(), at.checked_sub(1).map(|at| &steps[at]));
                let taken = start(machine, story, &files, acknowledged, &place);
                starts += 1;
                if again {
                    starts += cut(machine, story, Disks::of(&files), &taken, acknowledged, false);
                }
            }
        }
        let Some(step) = steps.get(at) else { break };
        disks.step(step);
        if let Step::Mark(mark) = step {
            acknowledged = Some(*mark);
        }
    }
    starts
}

/// Protocol 2.6: killed at any byte, the enclave comes back with all that it has said.
#[test]
fn nothing_acknowledged_is_lost_at_any_cut() {
    for copy in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::new(dir.path(), copy);
        let story = tell(&machine);
        let renewals = story.steps.iter().filter(|step| matches!(step, Step::Rename(_, to) if *to == machine.first));
        assert_eq!(renewals.count(), 3, "it began, and began anew twice");
        let starts = cut(&machine, &story, Disks::default(), &story.steps, None, true);
        assert!(starts > 100, "{starts} starts");
    }
}

/// The rule can be broken: a log that takes its place before it lasts loses what was said.
#[test]
fn a_log_that_takes_its_place_too_early_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let machine = Machine::new(dir.path(), false);
    let mut story = tell(&machine);
    let draft = machine.first.with_extension("new");
    story.steps.retain(|step| !matches!(step, Step::Sync(path) if *path == draft));
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        cut(&machine, &story, Disks::default(), &story.steps, None, false)
    }));
    assert!(found.is_err());
}
