//! The state of the chain after one block.

use crust_protocol::{
    Balance, BlockNumber, Key, NodeId, Slot, attestation::Collateral as VendorCollateral, draw::Drawn, file::Cid,
    order::OrderId, parameters::Parameters,
};
use subxt::{
    OnlineClientAtBlock,
    utils::{AccountId32, Static},
};

use super::{
    Account, Audit, Barred, BlockRef, Collateral, Config, Error, Event, LastReport, Node, Order, Quote, Replica, Take,
    generated::{
        self,
        runtime_types::{pallet_mpow::types as mpow, pallet_storage_market::runtime_api as market},
    },
};

/// Items of one page of a list.
const PAGE: u32 = 256;

/// The state after a block: all its answers fit together.
pub struct View {
    at: OnlineClientAtBlock<Config>,
    block: BlockRef,
    slot: Slot,
}

impl View {
    pub(super) fn at(&self) -> &OnlineClientAtBlock<Config> {
        &self.at
    }

    pub(super) fn new(at: OnlineClientAtBlock<Config>, block: BlockRef, slot: Slot) -> Self {
        View { at, block, slot }
    }

    /// The block after which the state is seen.
    pub fn block(&self) -> BlockRef {
        self.block
    }

    /// The report slot that the block is in.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    pub async fn parameters(&self) -> Result<Parameters, Error> {
        parameters(&self.at).await
    }

    /// A node's record.
    pub async fn node(&self, node: NodeId) -> Result<Option<Node>, Error> {
        let info = self.call(generated::runtime_apis().mpow_api().node(node)).await?;
        Ok(info.map(|info| node_of(node, info)))
    }

    /// The number of the node that has, or ever had, this signing key.
    pub async fn node_of(&self, sign_pk: Key) -> Result<Option<NodeId>, Error> {
        self.call(generated::runtime_apis().mpow_api().node_of(sign_pk)).await
    }

    /// The last block of the registration of an enclave that stands by; `None` if none does under this key.
    pub async fn standby(&self, sign_pk: Key) -> Result<Option<BlockNumber>, Error> {
        let entry = self.at.storage().entry(generated::storage().mpow().standbys()).map_err(Error::from_subxt)?;
        let Some(value) = entry.try_fetch((sign_pk,)).await.map_err(Error::from_subxt)? else { return Ok(None) };
        Ok(Some(value.decode().map_err(Error::from_subxt)?.registered_until))
    }

    /// Up to `limit` nodes from a number on.
    pub async fn nodes(&self, start: NodeId, limit: u32) -> Result<Vec<Node>, Error> {
        let nodes = self.call(generated::runtime_apis().mpow_api().nodes(start, limit)).await?;
        Ok(nodes.into_iter().map(|(id, info)| node_of(id, info)).collect())
    }

    /// Every node.
    pub async fn all_nodes(&self) -> Result<Vec<Node>, Error> {
        let mut all: Vec<Node> = Vec::new();
        loop {
            let start = all.last().map_or(0, |node| node.id.saturating_add(1));
            let page = self.nodes(start, PAGE).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// What a node's next report must answer; `None` if there is no such node.
    pub async fn audit(&self, node: NodeId) -> Result<Option<Audit>, Error> {
        let info = self.call(generated::runtime_apis().mpow_api().audit(node)).await?;
        Ok(info.map(|info| Audit { slot: info.slot, due: info.due.map(|due| due.0), probation: info.probation }))
    }

    /// The due draws of up to `limit` nodes from a number on.
    pub async fn due_draws(&self, start: NodeId, limit: u32) -> Result<Vec<(NodeId, Drawn)>, Error> {
        let draws = self.call(generated::runtime_apis().mpow_api().due_draws(start, limit)).await?;
        Ok(draws.into_iter().map(|(node, drawn)| (node, drawn.0)).collect())
    }

    /// The power that reports of a slot have added up to.
    pub async fn power(&self, slot: Slot) -> Result<u128, Error> {
        self.call(generated::runtime_apis().mpow_api().power(slot)).await
    }

    /// What the chain has of the vendor's collateral for the family of platforms that made this quote, in date or not;
    /// `None` if a part is missing.
    pub async fn vendor_collateral(&self, quote: Vec<u8>) -> Result<Option<VendorCollateral>, Error> {
        Ok(self.call(generated::runtime_apis().mpow_api().vendor_collateral(quote)).await?.map(|Static(it)| it))
    }

    /// Whether that is in date.
    pub async fn collateral_current(&self, quote: Vec<u8>) -> Result<bool, Error> {
        self.call(generated::runtime_apis().mpow_api().collateral_current(quote)).await
    }

    /// What an order costs.
    pub async fn quote(&self, size: u64, replicas: u32, term: u32) -> Result<Quote, Error> {
        let quote = self.call(generated::runtime_apis().market_api().quote(size, replicas, term)).await?;
        let quote = quote.map_err(|error| Error::NoQuote(quote_error(&error)))?;
        Ok(Quote {
            rate: quote.rate,
            balance: quote.balance,
            placing_fee: quote.placing_fee,
            deposit: quote.deposit,
            total: quote.total,
        })
    }

    /// An order that is live.
    pub async fn order(&self, order: OrderId) -> Result<Option<Order>, Error> {
        let info = self.call(generated::runtime_apis().market_api().order(order)).await?;
        Ok(info.map(|info| order_of(order, info)))
    }

    /// Up to `limit` orders of an account, after `start`.
    pub async fn orders_of(&self, account: Key, start: Option<OrderId>, limit: u32) -> Result<Vec<OrderId>, Error> {
        let api = generated::runtime_apis().market_api();
        self.call(api.orders_of(AccountId32(account), start, limit)).await
    }

    /// All live orders of an account.
    pub async fn all_orders_of(&self, account: Key) -> Result<Vec<OrderId>, Error> {
        all(|last| self.orders_of(account, last, PAGE)).await
    }

    /// All orders of which a node has a live replica.
    pub async fn all_node_orders(&self, node: NodeId) -> Result<Vec<OrderId>, Error> {
        all(|last| self.node_orders(node, last, PAGE)).await
    }

    /// A node's collateral.
    pub async fn collateral(&self, node: NodeId) -> Result<Collateral, Error> {
        let info = self.call(generated::runtime_apis().market_api().collateral(node)).await?;
        Ok(Collateral { deposited: info.deposited, reserved: info.reserved, taken: info.taken, free: info.free })
    }

    /// Billed bytes that a node's machine has room for, or why the node takes nothing new.
    pub async fn room(&self, node: NodeId) -> Result<Result<u64, Barred>, Error> {
        let room = self.call(generated::runtime_apis().market_api().room(node)).await?;
        Ok(room.map_err(|barred| match barred {
            market::Barred::NotRegistered => Barred::NotRegistered,
            market::Barred::Withdrawn => Barred::Withdrawn,
            market::Barred::NoHeir => Barred::NoHeir,
            market::Barred::Leaves => Barred::Leaves,
        }))
    }

    /// Up to `limit` orders, after `start`, that have a place without a live replica.
    pub async fn open_orders(&self, start: Option<OrderId>, limit: u32) -> Result<Vec<OrderId>, Error> {
        self.call(generated::runtime_apis().market_api().open_orders(start, limit)).await
    }

    /// Up to `limit` orders, after `start`, of which a node has a live replica.
    pub async fn node_orders(&self, node: NodeId, start: Option<OrderId>, limit: u32) -> Result<Vec<OrderId>, Error> {
        self.call(generated::runtime_apis().market_api().node_orders(node, start, limit)).await
    }

    /// The live replicas of a file, whoever ordered them.
    pub async fn replicas_of(&self, cid: Cid) -> Result<Vec<Replica>, Error> {
        let replicas = self.call(generated::runtime_apis().market_api().replicas_of(*cid.as_bytes())).await?;
        Ok(replicas.into_iter().map(replica_of).collect())
    }

    /// What a claim for a replica would pay now, all parties together.
    pub async fn claimable(&self, order: OrderId, node: NodeId) -> Result<Balance, Error> {
        self.call(generated::runtime_apis().market_api().claimable(order, node)).await
    }

    /// An account's money; nothing for one that the chain does not know.
    pub async fn balance(&self, account: Key) -> Result<Account, Error> {
        let entry = self.at.storage().entry(generated::storage().system().account()).map_err(Error::from_subxt)?;
        let Some(value) = entry.try_fetch((AccountId32(account),)).await.map_err(Error::from_subxt)? else {
            return Ok(Account::default());
        };
        let info = value.decode().map_err(Error::from_subxt)?;
        Ok(Account { free: info.data.free, held: info.data.reserved })
    }

    /// The nonce of an account's next transaction.
    pub(super) async fn nonce(&self, account: Key) -> Result<u64, Error> {
        let entry = self.at.storage().entry(generated::storage().system().account()).map_err(Error::from_subxt)?;
        let value = entry.try_fetch((AccountId32(account),)).await.map_err(Error::from_subxt)?;
        let Some(value) = value else { return Ok(0) };
        Ok(value.decode().map_err(Error::from_subxt)?.nonce.into())
    }

    /// What happened in the block.
    pub async fn events(&self) -> Result<Vec<Event>, Error> {
        let events = self.at.events().fetch().await.map_err(Error::from_subxt)?;
        events.iter().map(|event| event_of(&event.map_err(Error::from_subxt)?)).collect()
    }

    async fn call<P>(&self, payload: P) -> Result<P::ReturnType, Error>
    where
        P: subxt::runtime_apis::Payload,
    {
        self.at.runtime_apis().call(payload).await.map_err(Error::from_subxt)
    }
}

/// All pages of a list, each from behind the last of the page before.
async fn all<F>(page: impl Fn(Option<OrderId>) -> F) -> Result<Vec<OrderId>, Error>
where
    F: Future<Output = Result<Vec<OrderId>, Error>>,
{
    let mut all: Vec<OrderId> = Vec::new();
    loop {
        let next = page(all.last().copied()).await?;
        if next.is_empty() {
            return Ok(all);
        }
        all.extend(next);
    }
}

pub(super) async fn parameters(at: &OnlineClientAtBlock<Config>) -> Result<Parameters, Error> {
    let parameters = at.runtime_apis().call(generated::runtime_apis().mpow_api().parameters()).await;
    Ok(parameters.map_err(Error::from_subxt)?.0)
}

pub(super) fn event_of(event: &subxt::events::Event<'_, Config>) -> Result<Event, Error> {
    use generated::{mpow::events as mpow, storage_market::events as market};
    macro_rules! read {
        ($($pallet:ident::$kind:ident { $($field:ident $(. $inner:tt)?),* }),*) => {$(
            if let Some(event) = event.decode_fields_as::<$pallet::$kind>() {
                let $pallet::$kind { $($field),* } = event.map_err(Error::from_subxt)?;
                return Ok(Event::$kind { $($field: $field $(. $inner)?),* });
            }
        )*};
    }
    read!(
        market::OrderPlaced { order, client.0, cid.0, size },
        market::Funded { order, funder.0, amount },
        market::Cancelled { order },
        market::Taken { order, node, until },
        market::ReplicaSealed { order, node },
        market::ReplicaEnded { order, node },
        market::Claimed { order, node, provider_part, pot_part, treasury_part },
        market::Renewed { order, end, rate, returned },
        market::OrderEnded { order, refund },
        market::CollateralDeposited { node, amount, deposited },
        market::Slashed { order, node, to_order, to_client, to_treasury },
        market::DrawFailed { node, amount },
        market::NodeSilent { node },
        mpow::DrawAnswered { node, order }
    );
    Ok(Event::Other { pallet: event.pallet_name().into(), name: event.event_name().into() })
}

fn node_of(id: NodeId, info: mpow::NodeInfo) -> Node {
    Node {
        id,
        provider: info.provider,
        sign_pk: info.sign_pk,
        channel_pk: info.channel_pk,
        platform: info.platform,
        measurement: info.measurement,
        registered_until: info.registered_until,
        registered: info.registered,
        peer_id: text(info.peer_id),
        addresses: info.addresses.into_iter().map(text).collect(),
        root: info.root,
        last_report: info.last_report.map(|report| LastReport {
            slot: report.slot,
            block: report.block,
            filler_bytes: report.filler_bytes,
            stored_bytes: report.stored_bytes,
            good_filler: report.good_filler,
            good_files: report.good_files,
            scrubbed_until: report.scrubbed_until,
        }),
        power: info.power,
        idle: info.idle,
        leaves: info.leaves,
        heir: info.heir,
    }
}

fn order_of(id: OrderId, info: market::OrderInfo) -> Order {
    Order {
        id,
        client: info.client.0,
        nonce: info.nonce,
        cid: info.cid.0,
        size: info.size,
        audit_root: info.audit_root,
        flags: info.flags,
        wanted: info.wanted,
        term: info.term,
        placed: info.placed,
        start: info.start,
        end: info.end,
        rate: info.rate,
        balance: info.balance,
        deposit: info.deposit,
        cancelled: info.cancelled,
        open_places: info.open_places,
        takes: info.takes.into_iter().map(take_of).collect(),
        replicas: info.replicas.into_iter().map(replica_of).collect(),
    }
}

fn take_of(info: market::TakeInfo) -> Take {
    Take {
        node: info.node,
        provider: info.provider.0,
        until: info.until,
        peer_id: text(info.peer_id),
        addresses: info.addresses.into_iter().map(text).collect(),
    }
}

fn replica_of(info: market::ReplicaInfo) -> Replica {
    Replica {
        order: info.order,
        node: info.node,
        provider: info.provider.0,
        since: info.since,
        peer_id: text(info.peer_id),
        addresses: info.addresses.into_iter().map(text).collect(),
        health: info.health.map(|health| (health.slot, health.good_files)),
    }
}

fn quote_error(error: &market::QuoteError) -> String {
    use market::QuoteError::{NoReplicas, SizeTooLarge, TermTooLong, TermTooShort, TooDear, TooManyReplicas};
    match error {
        SizeTooLarge { largest } => format!("a file may have at most {largest} bytes"),
        NoReplicas => "at least one replica must be wanted".into(),
        TooManyReplicas { most } => format!("at most {most} replicas may be wanted"),
        TermTooShort { shortest } => format!("the term must last at least {shortest} slots for a file of this size"),
        TermTooLong { longest } => format!("the term may last at most {longest} slots"),
        TooDear => "no balance covers it".into(),
    }
}

/// Providers choose these bytes: what is no text is shown as such.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
