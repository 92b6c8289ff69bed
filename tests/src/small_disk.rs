//! A file system of a few MiB, to be filled: a real one, so that what a full disk does is what a full disk does.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use rustix::process::{getegid, geteuid};

/// Bytes written at a time while it is filled.
const PIECE: usize = 64 << 10;

/// A file system in memory, mounted on a directory. Dropped, it is unmounted.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one on a directory, which is made. Root may do that, and who may become root without a password.
    pub fn mount(path: &Path, bytes: u64) -> anyhow::Result<SmallDisk> {
        fs::create_dir_all(path)?;
        let options = format!("size={bytes},mode=0700,uid={},gid={}", geteuid(), getegid());
        let mut mount = as_root("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "crust-test"]).arg(path);
        let done = mount.output().with_context(|| format!("there is no {}", mount.get_program().display()))?;
        if !done.status.success() {
            let error = String::from_utf8_lossy(&done.stderr).into_owned();
            bail!("this test mounts a small file system, as root or with a `sudo` that asks for no password: {error}");
        }
        Ok(SmallDisk { path: path.to_owned() })
    }

    /// Writes somebody else's file until nothing more fits.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.foreign())?;
        let piece = vec![0x5a; PIECE];
        let mut left = PIECE;
        while left > 0 {
            match file.write(piece.get(..left).unwrap_or_default()) {
                Ok(0) => break,
                Ok(_) => (),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => left /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes that file away.
    pub fn clear(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.foreign())?)
    }

    fn foreign(&self) -> PathBuf {
        self.path.join("foreign")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a program may still have its log open there.
        match as_root("umount").arg("-l").arg(&self.path).status() {
            Ok(status) if status.success() => {}
            other => eprintln!("{} stays mounted: {other:?}", self.path.display()),
        }
    }
}

/// A program that only root may run.
fn as_root(program: &str) -> Command {
    if geteuid().is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["--non-interactive", program]);
    sudo
}
