//! A slot's sampling: the enclave draws, what it drew is read, the enclave says what it found.
//!
//! Several samples are read at a time, and the next batch while the enclave looks at the last. Whoever is being served
//! meanwhile comes first: samples are then read one at a time and with pauses, until the time that there is for that
//! has been spent; a slot is long. Caller: the worker that reports.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use crust_enclave::rpc::{CheckResult, Request, Response, Sample, Stretch};
use crust_protocol::{Hash, Slot};
use futures::{Stream, StreamExt};
use tokio::sync::Semaphore;

use crate::{
    enclave_client::{Enclave, Error},
    reading,
    store::Store,
    workers::serve::Serve,
};

/// Samples read at the same time.
pub const AT_ONCE: u32 = 16;
/// Bytes of answers in one frame.
const BATCH: usize = 2 << 20;
/// While others are being served, the pause after a sample, in times that it took to read.
const PAUSE: u32 = 3;

/// A check of a slot.
pub struct Check {
    pub result: CheckResult,
    /// How many samples were drawn.
    pub samples: usize,
}

/// Shows a slot and answers its draw. Whatever else would change the enclave's state waits until all is answered.
/// `patience` is the time that may be spent on giving way to others.
pub async fn check(
    store: &Arc<Store>,
    enclave: &Enclave,
    serve: &Serve,
    (slot, slot_hash): (Slot, Hash),
    patience: Duration,
) -> Result<Check, Error> {
    let mut enclave = enclave.exclusive().await;
    let Response::Shown { draw, .. } = enclave.change(Request::Show { slot, slot_hash }).await? else {
        return Err(Error::Answer("Show"));
    };
    let samples = draw.len();
    let reader = Reader {
        store,
        serve,
        turns: Semaphore::new(usize::try_from(AT_ONCE).unwrap_or(1)),
        ends: Instant::now().checked_add(patience),
    };
    let reads = draw.into_iter().map(|sample| reader.read(sample));
    let mut answers = std::pin::pin!(futures::stream::iter(reads).buffered(usize::try_from(AT_ONCE).unwrap_or(1)));
    let mut batch = next_batch(answers.as_mut()).await;
    loop {
        let last = batch.is_empty();
        let request = Request::Samples { bytes: std::mem::take(&mut batch) };
        let (checked, next) = tokio::join!(enclave.change(request), next_batch(answers.as_mut()));
        match checked? {
            Response::Checked { result: Some(result), .. } => return Ok(Check { result, samples }),
            Response::Checked { .. } if !last => batch = next,
            _ => return Err(Error::Answer("Samples")),
        }
    }
}

/// As many answers as one frame takes; none if there are no more.
async fn next_batch(mut answers: Pin<&mut impl Stream<Item = Option<Vec<u8>>>>) -> Vec<Option<Vec<u8>>> {
    let (mut batch, mut bytes) = (Vec::new(), 0_usize);
    while bytes < BATCH
        && let Some(answer) = answers.next().await
    {
        bytes = bytes.saturating_add(answer.as_ref().map_or(1, Vec::len));
        batch.push(answer);
    }
    batch
}

struct Reader<'a> {
    store: &'a Arc<Store>,
    serve: &'a Serve,
    /// One for each sample that is read at the same time; all for one, while others are being served.
    turns: Semaphore,
    /// When there is no more time to give way.
    ends: Option<Instant>,
}

impl Reader<'_> {
    /// What stands where a sample points, mended if it could be. `None` where the disk is not there: that is bad, but no
    /// damage. Damage is bytes that do not prove themselves, or none.
    async fn read(&self, sample: Sample) -> Option<Vec<u8>> {
        let stretch = match sample {
            Sample::Filler { disk, page } => Stretch::Filler { disk, page, pages: 1 },
            Sample::File { order, chunk } => Stretch::File { order, chunk, chunks: 1 },
            Sample::Tree { order, node } => Stretch::Tree { order, node, nodes: 1 },
        };
        if !self.gives_way() {
            let _turn = self.turns.acquire().await;
            return reading::stretch(self.store, stretch).await;
        }
        let _turns = self.turns.acquire_many(AT_ONCE).await;
        let started = Instant::now();
        let bytes = reading::stretch(self.store, stretch).await;
        if self.gives_way() {
            tokio::time::sleep(started.elapsed().saturating_mul(PAUSE)).await;
        }
        bytes
    }

    fn gives_way(&self) -> bool {
        self.serve.is_busy() && self.ends.is_some_and(|ends| Instant::now() < ends)
    }
}
