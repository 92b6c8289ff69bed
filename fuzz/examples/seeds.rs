//! Writes the seeds of a target as files, for a corpus: `seeds TARGET DIR`.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let (name, dir) = words.next().zip(words.next()).ok_or("seeds TARGET DIR")?;
    let target = crust_fuzz::target(&name).ok_or("no such target")?;
    let dir = PathBuf::from(dir);
    fs::create_dir_all(&dir)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        fs::write(dir.join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}
