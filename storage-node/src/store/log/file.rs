//! One file of the log as the file system sees it: the few operations that the log consists of. Whatever a crash can make
//! of them, the log must come back; the tests write each of them down here and replay every cut.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::FallocateFlags;

/// An open file. Nothing written lasts before [`File::sync`], and no name before [`sync_folder`].
pub(super) struct File {
    path: PathBuf,
    file: fs::File,
}

impl File {
    /// The file at a path, if there is one.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Some(File { path: path.to_owned(), file })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A new, empty one; what lay there gives way.
    pub fn create(path: &Path) -> io::Result<Self> {
        remove(path)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        #[cfg(test)]
        record::add(record::Step::Create(path.to_owned()));
        Ok(File { path: path.to_owned(), file })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    pub fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    pub fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        record::add(record::Step::Write(self.path.clone(), offset, bytes.to_vec()));
        self.file.write_all_at(bytes, offset)
    }

    pub fn cut(&self, length: u64) -> io::Result<()> {
        #[cfg(test)]
        record::add(record::Step::Cut(self.path.clone(), length));
        self.file.set_len(length)
    }

    /// Makes what was written last.
    pub fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if record::add(record::Step::Sync(self.path.clone())) {
            return Ok(());
        }
        self.file.sync_all()
    }

    /// Gives it another name, in the same folder; what had that name gives way.
    pub fn rename(&mut self, to: &Path) -> io::Result<()> {
        rename(&self.path, to)?;
        self.path = to.to_owned();
        Ok(())
    }

    /// Has the file system set bytes aside for it, without making it longer.
    pub fn set_aside(&self, to: u64) -> rustix::io::Result<()> {
        rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, to)
    }
}

/// Makes the names in a file's folder last.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    #[cfg(test)]
    if record::add(record::Step::SyncFolder(folder.to_owned())) {
        return Ok(());
    }
    fs::File::open(folder)?.sync_all()
}

/// Gives a file another name, in the same folder.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    #[cfg(test)]
    record::add(record::Step::Rename(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Removes a file. None there is a success.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => {
            #[cfg(test)]
            record::add(record::Step::Remove(path.to_owned()));
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a test writes down of the thread that it runs in.
#[cfg(test)]
pub(super) mod record {
    use std::{cell::RefCell, path::PathBuf};

    #[derive(Clone, Debug)]
    pub enum Step {
        Create(PathBuf),
        Write(PathBuf, u64, Vec<u8>),
        Cut(PathBuf, u64),
        Sync(PathBuf),
        Rename(PathBuf, PathBuf),
        Remove(PathBuf),
        SyncFolder(PathBuf),
        /// Something that the test wants to know the place of.
        Mark(usize),
    }

    thread_local! {
        static STEPS: RefCell<Option<Vec<Step>>> = const { RefCell::new(None) };
    }

    /// Whether steps are written down: then nothing has to reach a disk, for the test decides what lasts.
    pub fn add(step: Step) -> bool {
        STEPS.with_borrow_mut(|steps| steps.as_mut().map(|steps| steps.push(step))).is_some()
    }

    pub fn begin() {
        STEPS.set(Some(Vec::new()));
    }

    pub fn end() -> Vec<Step> {
        STEPS.take().unwrap_or_default()
    }
}
