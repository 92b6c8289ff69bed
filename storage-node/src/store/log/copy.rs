//! The second place of the log: what it is good for at a start, and how it follows.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Copy, CopyAt, CopyState, Error,
    place::{Place, same},
};

/// Time between two attempts to make a copy that failed anew.
const AGAIN: Duration = Duration::from_secs(30);
/// Bytes copied at a time.
const PART: usize = 1 << 20;

/// Brings first place and copy together: the length that both have, and the copy. `found` is what a scan of the first
/// place has said; if that is damage, only a copy that has all of its good part can mend it.
pub(super) fn settle(
    first: &Place,
    found: Result<u64, Error>,
    copy: Option<CopyAt>,
) -> Result<(u64, Option<Copy>), Error> {
    let own = match &found {
        Ok(length) => *length,
        Err(Error::Damaged { offset, .. }) => *offset,
        Err(_) => 0,
    };
    let Some(at) = copy else { return Ok((found?, None)) };
    let path = at.path.clone();
    let other = open(&at).and_then(|place| Ok((place.scan()?, place)));
    if let Ok((length, place)) = &other
        && *length > own
        && same(first, place, own)?
    {
        tracing::warn!(log = %first.path.display(), copy = %path.display(), "the log is made whole from its copy");
        become_copy(first, place, own, *length)?;
        // What the first place has beyond may be good, and newer.
        let length = first.scan()?;
        let place = make(first, &at, length)?;
        return Ok((length, Some(Copy { at, state: CopyState::Following(place) })));
    }
    let length = found?;
    let state = match other.and_then(|_| make(first, &at, length)) {
        Ok(place) => CopyState::Following(place),
        Err(Error::Damaged { .. } | Error::Version(_)) => match anew(first, &path, length) {
            Ok(place) => CopyState::Following(place),
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error),
    };
    Ok((length, Some(Copy { at, state })))
}

/// Writes to the copy what was written to the first place; makes it anew when it is time.
pub(super) fn follow(first: &Place, copy: &mut Option<Copy>, bytes: &[u8], offset: u64) {
    let Some(copy) = copy else { return };
    let end = offset.saturating_add(super::len(bytes));
    match &copy.state {
        CopyState::Following(place) => {
            if let Err(error) = place.write(bytes, offset) {
                copy.state = failed(&error);
            }
        }
        CopyState::Failed(since, _) if since.elapsed() >= AGAIN => {
            copy.state = match make(first, &copy.at, end) {
                Ok(place) => {
                    tracing::info!(copy = %copy.at.path.display(), "the copy of the log follows again");
                    CopyState::Following(place)
                }
                Err(Error::Damaged { .. } | Error::Version(_)) => {
                    anew(first, &copy.at.path, end).map_or_else(|error| failed(&error), CopyState::Following)
                }
                Err(error) => failed(&error),
            };
        }
        CopyState::Failed(..) => (),
    }
}

/// An empty mount point is never written to.
fn open(at: &CopyAt) -> Result<Place, Error> {
    if (at.is_there)() {
        return Place::open(&at.path);
    }
    let source = io::Error::new(io::ErrorKind::NotFound, "its disk is missing");
    Err(Error::Io { path: at.path.clone(), source })
}

fn failed(error: &Error) -> CopyState {
    tracing::error!("the copy of the log cannot be kept: {error}");
    CopyState::Failed(Instant::now(), error.to_string())
}

/// Makes the copy the first `length` bytes of the first place. What it has beyond a common beginning is kept
/// aside.
fn make(first: &Place, at: &CopyAt, length: u64) -> Result<Place, Error> {
    let place = open(at)?;
    let own = place.scan()?.min(length);
    if !same(first, &place, own)? {
        drop(place);
        return anew(first, &at.path, length);
    }
    become_copy(&place, first, own, length)?;
    place.cut(length)?;
    Ok(place)
}

/// The same, from nothing.
fn anew(first: &Place, path: &Path, length: u64) -> Result<Place, Error> {
    let aside = aside(path);
    tracing::warn!(copy = %path.display(), aside = %aside.display(), "the copy of the log differs; it is made anew");
    fs::rename(path, &aside).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let place = Place::open(path)?;
    become_copy(&place, first, 0, length)?;
    place.cut(length)?;
    Ok(place)
}

/// Appends `source`'s bytes from `from` on.
fn become_copy(place: &Place, source: &Place, from: u64, length: u64) -> Result<(), Error> {
    let (mut offset, mut buffer) = (from, vec![0; PART]);
    while offset < length {
        let part = usize::try_from(length.saturating_sub(offset)).unwrap_or(PART).min(PART);
        let part = buffer.get_mut(..part).unwrap_or_default();
        source.read(part, offset)?;
        place.write(part, offset)?;
        offset = offset.saturating_add(super::len(part));
    }
    Ok(())
}

fn aside(path: &Path) -> PathBuf {
    let named = |at: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".differs-{at}"));
        PathBuf::from(name)
    };
    (1..).map(named).find(|path| !path.exists()).unwrap_or_else(|| named(0))
}
