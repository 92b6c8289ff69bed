//! Watches the chain for orders with an open place, decides, and takes a place. From then on the order is in the index
//! and the next worker's.
//!
//! Trigger: a best block. Action: for each open order that this node does not know and has room for, after a short
//! random pause (so that nodes do not all take the same place), `take`. Follow-up: [`super::fetch`]. A take that came
//! to nothing is tried again after a while, each time a longer one. An order that cannot be taken now is looked up again
//! a slot later, or as soon as the collateral is free that it needs; and a block brings a bounded number of look-ups: the
//! list goes on where the last block left it. What would fail in the block is not sent, for it costs a fee: a node to
//! which the chain gives nothing new says why, and takes nothing.
//!
//! An order stays in the list until all its receipts are there: one of which this node holds a place that its index does
//! not know, or knows only to have been about to be taken, is taken up like any other.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crust_client::{
    chain::{Barred, BlockRef, Call, Event, Order, View},
    money,
};
use crust_protocol::{
    Balance, BlockNumber, NodeId,
    order::{OrderId, PRIVATE},
    parameters::Parameters,
};
use tokio::sync::watch;

use super::{Error, Next, Worker};
use crate::{
    host::{Host, next_head},
    store::index::{Record, State},
};

/// Orders of one page.
const PAGE: u32 = 256;
/// Pages of the list that are read for a block.
const PAGES: usize = 16;
/// Orders looked up for a block.
const LOOK: usize = 512;
/// Orders remembered as not to be taken now.
const PASSED: usize = 65_536;
/// Takes sent at the same time.
const AT_ONCE: usize = 16;

pub struct WatchOrders {
    host: Arc<Host>,
    heads: watch::Receiver<Option<BlockRef>>,
    seen: Option<BlockRef>,
    /// Where the list goes on with the next block.
    cursor: Option<OrderId>,
    passed: Passed,
    open: u64,
    means: Means,
    /// Why nothing is taken, or what is passed over for want of collateral.
    trouble: Option<String>,
}

/// What speaks for an order and against it.
enum Judged {
    Wanted(Box<Order>),
    NotNow,
    /// It needs so much collateral, and less is free.
    TooDear(Balance),
}

/// What a node has for further takes.
#[derive(Clone, Copy)]
pub struct Means {
    /// Billed bytes that its machine may hold beside what it holds, or why it takes nothing.
    pub room: Result<u64, Barred>,
    /// Collateral.
    pub free: Balance,
}

/// What there is too little of.
#[derive(PartialEq, Eq, Debug)]
pub enum Lack {
    Room,
    /// So much is needed.
    Collateral(Balance),
}

impl Means {
    pub async fn of(view: &View, number: NodeId) -> Result<Means, Error> {
        Ok(Means { room: view.room(number).await?, free: view.collateral(number).await?.free })
    }

    /// Sets aside what a place of an order needs. Without it, a `take` would fail.
    pub fn spend(&mut self, parameters: &Parameters, size: u64, rate: Balance) -> Result<(), Lack> {
        let room = self.room.ok().and_then(|room| room.checked_sub(parameters.billed(size))).ok_or(Lack::Room)?;
        let needed = rate.saturating_mul(parameters.collateral_slots.into());
        let free = self.free.checked_sub(needed).ok_or(Lack::Collateral(needed))?;
        (self.room, self.free) = (Ok(room), free);
        Ok(())
    }
}

/// An order that could not be taken when it was looked up.
pub struct Pass {
    /// The block at which to look again.
    pub until: BlockNumber,
    /// The free collateral with which to look again at once, if want of it was the reason.
    pub needed: Option<Balance>,
}

#[derive(Default)]
pub struct Passed(BTreeMap<OrderId, Pass>);

impl Passed {
    /// Whether an order is not to be looked up at this block, with so much collateral free.
    pub fn knows(&self, id: &OrderId, block: BlockNumber, free: Balance) -> bool {
        self.0.get(id).is_some_and(|pass| block < pass.until && pass.needed.is_none_or(|needed| free < needed))
    }

    /// Remembers an order; those whose time has come, and then any, make room for it.
    pub fn add(&mut self, id: OrderId, block: BlockNumber, pass: Pass) {
        if self.0.len() >= PASSED {
            self.0.retain(|_, pass| block < pass.until);
        }
        if self.0.len() >= PASSED {
            self.0.pop_first();
        }
        self.0.insert(id, pass);
    }

    /// How many orders are passed over for want of collateral, and the least that one of them needs.
    fn too_dear(&self, block: BlockNumber, free: Balance) -> Option<(usize, Balance)> {
        let passed = || self.0.values().filter(|pass| block < pass.until);
        let needed = || passed().filter_map(|pass| pass.needed).filter(|needed| free < *needed);
        needed().min().map(|least| (needed().count(), least))
    }
}

impl WatchOrders {
    pub fn new(host: Arc<Host>) -> Self {
        let heads = host.best.subscribe();
        let means = Means { room: Ok(0), free: 0 };
        WatchOrders { host, heads, seen: None, cursor: None, passed: Passed::default(), open: 0, means, trouble: None }
    }

    /// What to do about the open orders of a page, of which at most `left` are looked up.
    async fn page(&mut self, view: &View, number: NodeId, page: &[OrderId], left: &mut usize) -> Result<(), Error> {
        let block = view.block().number;
        let until = block.saturating_add(self.host.parameters().slot_blocks);
        let mut wanted = Vec::new();
        for id in page {
            if self.passed.knows(id, block, self.means.free) || !self.may_want(id, block)? {
                continue;
            }
            if *left == 0 {
                break;
            }
            *left = left.saturating_sub(1);
            match self.consider(view, number, id).await? {
                Judged::Wanted(order) => {
                    self.passed.0.remove(id);
                    wanted.push(order);
                }
                Judged::NotNow => self.passed.add(*id, block, Pass { until, needed: None }),
                Judged::TooDear(needed) => self.passed.add(*id, block, Pass { until, needed: Some(needed) }),
            }
            self.cursor = Some(*id);
        }
        self.open = self.open.saturating_add(u64::try_from(wanted.len()).unwrap_or(u64::MAX));
        for chunk in wanted.chunks(AT_ONCE) {
            let takes = chunk.iter().map(|order| take(&self.host, number, order));
            for (order, taken) in chunk.iter().zip(futures::future::join_all(takes).await) {
                if !taken? {
                    self.passed.add(order.id, block, Pass { until, needed: None });
                }
            }
        }
        Ok(())
    }

    /// Whether what is known here speaks for looking an order up.
    fn may_want(&self, id: &OrderId, block: BlockNumber) -> Result<bool, Error> {
        Ok(match self.host.store.index.order(id)? {
            None => true,
            Some(record) => record.state == State::Waiting && record.until <= block,
        })
    }

    /// Whether this node wants an order and may take it.
    async fn consider(&mut self, view: &View, number: NodeId, id: &OrderId) -> Result<Judged, Error> {
        let Some(order) = view.order(*id).await? else { return Ok(Judged::NotNow) };
        if order.cancelled || order.flags & PRIVATE != 0 || order.replica_of(number).is_some() {
            return Ok(Judged::NotNow);
        }
        // One replica of a file a node: another order for it waits for its end.
        if self.host.store.index.orders_for(&order.cid)?.iter().any(|other| other != id) {
            return Ok(Judged::NotNow);
        }
        let ours = order.take_of(number).is_some();
        if !ours && order.open_places == 0 {
            return Ok(Judged::NotNow);
        }
        if self.host.store.choose(order.size).is_none() {
            tracing::info!(order = hex::encode(id), size = order.size, "no disk has room for it");
            return Ok(Judged::NotNow);
        }
        if !ours {
            match self.means.spend(self.host.parameters(), order.size, order.rate) {
                Ok(()) => (),
                Err(Lack::Room) => return Ok(Judged::NotNow),
                Err(Lack::Collateral(needed)) => return Ok(Judged::TooDear(needed)),
            }
        }
        Ok(Judged::Wanted(Box::new(order)))
    }

    /// Tells why nothing is taken, or what is passed over for want of collateral.
    fn tell(&mut self, block: BlockNumber, number: NodeId, means: Means, leaves: Option<BlockNumber>) {
        let too_dear = self.passed.too_dear(block, means.free);
        let count = too_dear.map_or(0, |(count, _)| u32::try_from(count).unwrap_or(u32::MAX));
        metrics::gauge!("crust_orders_without_collateral").set(f64::from(count));
        metrics::gauge!("crust_leaves_block").set(f64::from(leaves.unwrap_or_default()));
        self.host.board.set_leaves(leaves);
        let trouble = match (means.room, leaves, too_dear) {
            (Err(barred), None, _) => Some(format!("takes nothing new: {barred}")),
            (Err(barred), Some(out), _) => {
                Some(format!("takes nothing new, and its replicas end from block {out} on: {barred}"))
            }
            (Ok(_), Some(out), _) => Some(format!(
                "its replicas end from block {out} on: its registration has ended, and is not renewed while the chain's \
                 collateral for its platform is out of date; the worker `register` says why it is"
            )),
            (Ok(_), None, Some((count, least))) => {
                let [least, free] = [least, means.free].map(money::show);
                Some(format!(
                    "{count} open orders are passed over for want of collateral: the least of them needs {least} and \
                     {free} are free; raise `provider.collateral`, or `crust provider collateral {number} AMOUNT`"
                ))
            }
            (Ok(_), None, None) => None,
        };
        if let Some(trouble) = trouble.as_ref().filter(|_| self.trouble.is_none()) {
            tracing::warn!("{trouble}");
        }
        self.trouble = trouble;
    }
}

impl Worker for WatchOrders {
    fn name(&self) -> &'static str {
        "watch_orders"
    }

    async fn work(&mut self) -> Result<Next, Error> {
        let number = self.host.number()?;
        let view = self.host.view().await?;
        if self.seen == Some(view.block()) {
            return Ok(Next::Wait);
        }
        self.open = 0;
        let means = Means::of(&view, number).await?;
        let leaves = view.node(number).await?.and_then(|node| node.leaves);
        self.means = means;
        let mut left = LOOK;
        for _ in 0..PAGES {
            let start = self.cursor;
            let page = view.open_orders(start, PAGE).await?;
            self.page(&view, number, &page, &mut left).await?;
            if left == 0 {
                break;
            }
            // A short page is the list's end: it goes on from the beginning, with the next block if it began there.
            let end = u32::try_from(page.len()).unwrap_or(u32::MAX) < PAGE;
            self.cursor = page.last().copied().filter(|_| !end);
            if end && start.is_none() {
                break;
            }
        }
        self.tell(view.block().number, number, means, leaves);
        self.seen = Some(view.block());
        Ok(Next::Wait)
    }

    async fn wait(&mut self) {
        next_head(&mut self.heads, Duration::from_secs(60)).await;
    }

    fn queue(&self) -> u64 {
        self.open
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }
}

/// Takes a place of an order, if it is still worth it after a short pause, and notes it in the index: first that it is
/// about to, so that no place is taken of which nothing is known here. Whether it has one.
async fn take(host: &Host, number: NodeId, order: &Order) -> Result<bool, Error> {
    let store = &host.store;
    let known = store.index.order(&order.id)?;
    let Some(disk) = store.choose(order.size) else {
        tracing::debug!(order = hex::encode(order.id), size = order.size, "no room for it");
        return Ok(false);
    };
    tokio::time::sleep(pause(host, &order.id)).await;
    let view = host.view().await?;
    let Some(order) = view.order(order.id).await? else { return Ok(false) };
    let before = known.clone();
    let mut record = known.unwrap_or_else(|| Record::new(order.content(), State::Waiting));
    (record.disk, record.end) = (Some(disk), order.end);
    record.until = if host.holds_place(&order, number, &view) {
        // Taken before a restart, or by the provider itself.
        order.take_of(number).map_or(0, |take| take.until)
    } else {
        if order.open_places == 0 || !store.promise(&order.id, &disk, order.size) {
            return Ok(false);
        }
        // Whatever becomes of the take, the order is looked up again.
        record.state = State::Waiting;
        record.until = view.block().number.saturating_add(host.parameters().slot_blocks);
        let noted = write(host, record.clone()).await;
        let taken = match noted {
            Ok(()) => take_place(host, number, &order.id).await,
            Err(error) => {
                store.release(&order.id);
                return Err(error);
            }
        };
        match taken {
            Ok(until) => until,
            Err(error) => {
                store.release(&order.id);
                return not_taken(host, order.id, before, error).await.map(|()| false);
            }
        }
    };
    if !store.promise(&order.id, &disk, order.size) {
        return Ok(false);
    }
    (record.state, record.note) = (State::Taken, None);
    let until = record.until;
    write(host, record).await?;
    tracing::info!(order = hex::encode(order.id), cid = %order.cid, size = order.size, until, "place taken");
    host.wakes.fetch.notify_one();
    Ok(true)
}

async fn write(host: &Host, record: Record) -> Result<(), Error> {
    Ok(host.store.run(move |index| index.put(&[record])).await?)
}

/// What was known of an order of which no place was taken is known again. Where it is not sure that none was, the order
/// is looked up again.
async fn not_taken(
    host: &Host,
    id: OrderId,
    before: Option<Record>,
    error: crust_client::chain::Error,
) -> Result<(), Error> {
    tracing::info!(order = hex::encode(id), "not taken: {error}");
    match error {
        // Somebody was faster, or it ended meanwhile.
        crust_client::chain::Error::Refused { .. } | crust_client::chain::Error::Invalid { .. } => match before {
            Some(record) => write(host, record).await,
            None => Ok(host.store.run(move |index| index.forget(&[id])).await?),
        },
        error => Err(error.into()),
    }
}

/// `take`, waited for until it is in a block. The block before which the place is held.
pub async fn take_place(
    host: &Host,
    number: NodeId,
    order: &OrderId,
) -> Result<BlockNumber, crust_client::chain::Error> {
    let included = host.chain.submit(Call::Take { order: *order, node: number }, &host.wallet).await?;
    let ours = included.events.iter().find_map(|event| match event {
        Event::Taken { order: taken, node, until } if taken == order && *node == number => Some(*until),
        _ => None,
    });
    Ok(ours.unwrap_or(included.block.number))
}

/// Up to a quarter of a block's time, another for every node and order.
fn pause(host: &Host, order: &OrderId) -> Duration {
    let hash = crust_protocol::h(&[order, &host.identity.sign_pk]);
    let share = u64::from(hash.first().copied().unwrap_or_default());
    Duration::from_millis(host.parameters().block_millis.saturating_mul(share) / 1_024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn orders_that_cannot_be_taken_are_remembered_for_a_while_and_in_bounds() {
        let mut passed = Passed::default();
        let pass = |until, needed| Pass { until, needed };
        passed.add([1; 32], 5, pass(15, None));
        assert!(passed.knows(&[1; 32], 14, 0) && !passed.knows(&[1; 32], 15, 0) && !passed.knows(&[2; 32], 5, 0));
        assert_eq!(passed.too_dear(5, 0), None);
        // What lacks collateral is looked at again as soon as that is there.
        passed.add([3; 32], 5, pass(15, Some(100)));
        passed.add([4; 32], 5, pass(15, Some(70)));
        assert!(passed.knows(&[3; 32], 5, 99) && !passed.knows(&[3; 32], 5, 100));
        let too_dear = [(5, 0), (5, 70), (5, 100), (15, 0)].map(|(block, free)| passed.too_dear(block, free));
        assert_eq!(too_dear, [Some((2, 70)), Some((1, 100)), None, None]);
        for number in 0..u64::try_from(PASSED).unwrap() + 10 {
            let mut id = [0xff; 32];
            id.iter_mut().zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
            passed.add(id, 20, pass(30, None));
        }
        assert_eq!(passed.0.len(), PASSED);
    }

    #[test]
    fn what_would_fail_in_the_block_is_not_sent() {
        let parameters = Parameters { min_billed: 10, collateral_slots: 3, ..Parameters::PRODUCTION };
        let mut means = Means { room: Ok(100), free: 21 };
        let mut spend = |size, rate| means.spend(&parameters, size, rate);
        assert_eq!(spend(101, 0), Err(Lack::Room));
        assert_eq!(spend(100, 8), Err(Lack::Collateral(24)));
        // A file of 1 byte is billed 10. What is set aside is gone, and what cannot be had takes nothing.
        assert_eq!(
            [spend(1, 5), spend(91, 0), spend(90, 3), spend(90, 2)],
            [Ok(()), Err(Lack::Room), Err(Lack::Collateral(9)), Ok(())]
        );
        let barred = &mut Means { room: Err(Barred::Withdrawn), free: 100 };
        assert_eq!(barred.spend(&parameters, 1, 1), Err(Lack::Room));
    }
}
