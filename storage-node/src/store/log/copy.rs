//! The second place of the log: what it is good for at a start, and how it follows.

use std::{
    cmp::Ordering,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Copy, CopyAt, CopyState, Error,
    file::rename,
    head::Head,
    header,
    place::{Draft, Finished, Found, Place, Reader, same, sweep},
};

/// Time between two attempts to make a copy that failed anew.
const AGAIN: Duration = Duration::from_secs(30);

/// Brings first place and copy together: the first place, its length, and the copy. A first place that is damaged or
/// older is made whole from the copy; where they differ otherwise the first counts. Where nothing lies in either a log
/// begins, with an id from `id`.
pub(super) fn settle(
    path: &Path,
    copy: Option<CopyAt>,
    id: impl FnOnce() -> Result<[u8; 16], Error>,
) -> Result<(Place, u64, Option<Copy>), Error> {
    sweep(path)?;
    let found = Found::at(path)?;
    let other = match (&found, copy.as_ref().map(find)) {
        // It may be all that is left of the log.
        (Found::Nothing, Some(Err(error))) => return Err(error),
        (_, other) => other,
    };
    let (first, length) = match (found, &other) {
        (found, Some(Ok(Found::Whole(copy, length)))) => mend(path, found, copy, *length)?,
        (Found::Whole(first, length), _) => (first, length),
        (Found::Damaged(first, offset), _) => return Err(Error::Damaged { path: first.path().to_owned(), offset }),
        (Found::Headless(file), _) => return Err(Error::Damaged { path: file.path().to_owned(), offset: 0 }),
        // A log without its first place, whose copy cannot be read: nothing may begin in its stead.
        (Found::Nothing, Some(Ok(Found::Damaged(copy, offset)))) => {
            return Err(Error::Damaged { path: copy.path().to_owned(), offset: *offset });
        }
        (Found::Nothing, Some(Ok(Found::Headless(file)))) => {
            return Err(Error::Damaged { path: file.path().to_owned(), offset: 0 });
        }
        (Found::Nothing, _) => (Draft::begin(path, Head::new(id()?))?.finish()?.take_place()?, header()),
    };
    first.cut(length)?;
    first.settle()?;
    let follow = |(at, found): (CopyAt, _)| {
        let state = like(&first, length, &at, found).map_or_else(|error| failed(&error), CopyState::Following);
        Copy { at, state }
    };
    let copy = copy.zip(other).map(follow);
    Ok((first, length, copy))
}

/// The first place, out of what was found there and a copy that is whole.
fn mend(path: &Path, found: Found, copy: &Place, length: u64) -> Result<(Place, u64), Error> {
    let told =
        || tracing::warn!(log = %path.display(), copy = %copy.path().display(), "the log is made whole from its copy");
    let newer = |first: &Place| first.head.compare(&copy.head) == Some(Ordering::Less);
    let equal = |first: &Place| first.head.compare(&copy.head) == Some(Ordering::Equal);
    match found {
        Found::Whole(first, own) if equal(&first) && length > own && same(&first, copy, own)? => {
            told();
            first.follow(copy, own, length)?;
            Ok((first, length))
        }
        Found::Whole(first, own) if !newer(&first) => Ok((first, own)),
        Found::Damaged(first, offset) if equal(&first) && length > offset && same(&first, copy, offset)? => {
            told();
            first.follow(copy, offset, length)?;
            // What the first place has beyond may be good, and newer.
            let length = first.scan()?;
            Ok((first, length))
        }
        Found::Damaged(first, offset) if !newer(&first) => Err(Error::Damaged { path: path.to_owned(), offset }),
        Found::Headless(file) => {
            // Of the copy's own generation, or else the copy may be older.
            let first = Place::new(file, copy.head.clone());
            let size = first.size()?;
            if size > header() && Reader::default().frame(&first, header(), size)?.is_none() {
                return Err(Error::Damaged { path: path.to_owned(), offset: 0 });
            }
            told();
            first.follow(copy, 0, length)?;
            let length = first.scan()?;
            Ok((first, length))
        }
        Found::Nothing | Found::Whole(..) | Found::Damaged(..) => {
            told();
            let first = Draft::like(copy, length, path)?.finish()?.take_place()?;
            first.settle()?;
            Ok((first, length))
        }
    }
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
            copy.state = match like(first, end, &copy.at, find(&copy.at)) {
                Ok(place) => {
                    tracing::info!(copy = %copy.at.path.display(), "the copy of the log follows again");
                    CopyState::Following(place)
                }
                Err(error) => failed(&error),
            };
        }
        CopyState::Failed(..) => (),
    }
}

/// Makes a copy of what is to take the first place, beside the present one, which stays. One that fails has failed.
pub(super) fn prepare(next: &Finished, copy: &mut Option<Copy>) -> Option<Finished> {
    let Some(Copy { at, state: state @ CopyState::Following(_) }) = copy else { return None };
    let made = there(at).and_then(|()| Draft::like(&next.file, next.length, &at.path)?.finish());
    made.map_err(|error| *state = failed(&error)).ok()
}

/// Puts it in its place. A copy for which there is none follows no more, until it is made anew.
pub(super) fn replace(next: Option<Finished>, copy: &mut Option<Copy>) {
    let Some(Copy { at, state: state @ CopyState::Following(_) }) = copy else { return };
    let missing = || Error::Io { path: at.path.clone(), source: io::Error::other("the log began anew without it") };
    let taken = next.ok_or_else(missing).and_then(Finished::take_place);
    let settled = taken.and_then(|place| place.settle().map(|()| place));
    *state = settled.map_or_else(|error| failed(&error), CopyState::Following);
}

/// An empty mount point is never written to.
fn there(at: &CopyAt) -> Result<(), Error> {
    if (at.is_there)() {
        return Ok(());
    }
    let source = io::Error::new(io::ErrorKind::NotFound, "its disk is missing");
    Err(Error::Io { path: at.path.clone(), source })
}

fn find(at: &CopyAt) -> Result<Found, Error> {
    there(at)?;
    sweep(&at.path)?;
    Found::at(&at.path)
}

fn failed(error: &Error) -> CopyState {
    tracing::error!("the copy of the log cannot be kept: {error}");
    CopyState::Failed(Instant::now(), error.to_string())
}

/// Makes the copy the first `length` bytes of the first place. One that the first place has come out of gives way; one
/// that differs is kept aside.
fn like(first: &Place, length: u64, at: &CopyAt, found: Result<Found, Error>) -> Result<Place, Error> {
    match found {
        Ok(Found::Whole(place, own))
            if place.head.compare(&first.head) == Some(Ordering::Equal) && same(first, &place, own.min(length))? =>
        {
            place.follow(first, own.min(length), length)?;
            place.cut(length)?;
            return Ok(place);
        }
        Ok(Found::Nothing) => (),
        Ok(Found::Whole(place, _)) if place.head.compare(&first.head) == Some(Ordering::Less) => (),
        Ok(Found::Whole(..) | Found::Damaged(..) | Found::Headless(_)) | Err(Error::Version(_)) => set_aside(&at.path)?,
        Err(error) => return Err(error),
    }
    let place = Draft::like(first, length, &at.path)?.finish()?.take_place()?;
    place.settle()?;
    Ok(place)
}

fn set_aside(path: &Path) -> Result<(), Error> {
    let named = |at: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".differs-{at}"));
        PathBuf::from(name)
    };
    let aside = (1..).map(named).find(|path| !path.exists()).unwrap_or_else(|| named(0));
    tracing::warn!(copy = %path.display(), aside = %aside.display(), "the copy of the log differs; it is made anew");
    rename(path, &aside).map_err(|source| Error::Io { path: path.to_owned(), source })
}
