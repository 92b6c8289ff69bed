//! Test data: pseudo-random bytes that a seed names, made as a stream, so that size costs no memory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
};

/// Bytes written at a time.
const PIECE: usize = 1 << 20;

/// An endless stream of bytes; no two blocks of it are equal.
pub struct Payload {
    stream: blake3::OutputReader,
}

impl Payload {
    pub fn new(seed: u64) -> Self {
        Payload { stream: blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof() }
    }
}

impl Read for Payload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.fill(buffer);
        Ok(buffer.len())
    }
}

/// Writes a file of this size.
pub fn write_payload(path: &Path, seed: u64, size: u64) -> io::Result<()> {
    let mut payload = Payload::new(seed).take(size);
    let mut file = io::BufWriter::with_capacity(PIECE, File::create(path)?);
    io::copy(&mut payload, &mut file)?;
    file.flush()
}

/// Flips one bit of a file, as a rotting disk would.
pub fn flip(path: &Path, offset: u64) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut bytes = [0];
    file.read_exact_at(&mut bytes, offset)?;
    file.write_all_at(&bytes.map(|byte| byte ^ 1), offset)?;
    file.sync_all()
}
