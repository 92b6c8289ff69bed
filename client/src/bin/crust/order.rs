//! `crust order`: the account's orders.

use crust_client::{
    chain::{Call, Chain, Event, Finality, Order, Replica, Take},
    money,
};
use crust_protocol::{Balance, order::OrderId};

use crate::{
    access::{self, Acting, Asking},
    output,
};

/// Lists, shows, cancels and funds orders
#[derive(clap::Subcommand)]
#[command(after_help = "Example:\n  crust order list")]
pub enum Command {
    List(List),
    Show(Show),
    Cancel(Cancel),
    Fund(Fund),
}

/// Lists the account's live orders
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust order list --json")]
pub struct List {
    #[command(flatten)]
    acting: Acting,
}

/// Shows an order: its replicas, their nodes and health, its money
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust order show 0x2f…")]
pub struct Show {
    #[arg(value_name = "ORDER", value_parser = access::order_id)]
    order: OrderId,
    #[command(flatten)]
    asking: Asking,
}

/// Ends an order; what its nodes have not earned is returned
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust order cancel 0x2f…")]
pub struct Cancel {
    #[arg(value_name = "ORDER", value_parser = access::order_id)]
    order: OrderId,
    #[command(flatten)]
    acting: Acting,
}

/// Adds money to an order, one's own or another's, so that it goes on after its term
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust order fund 0x2f… 0.25")]
pub struct Fund {
    #[arg(value_name = "ORDER", value_parser = access::order_id)]
    order: OrderId,
    /// Tokens like 0.25, or plancks like 1000plancks
    #[arg(value_name = "AMOUNT", value_parser = money::parse)]
    amount: Balance,
    #[command(flatten)]
    acting: Acting,
}

pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(args).await,
        Command::Show(args) => show(args).await,
        Command::Cancel(args) => cancel(args).await,
        Command::Fund(args) => fund(args).await,
    }
}

async fn list(args: List) -> anyhow::Result<()> {
    let (chain, account) = args.acting.read().await?;
    let view = chain.view(Finality::Best).await?;
    let mut orders = Vec::new();
    for id in view.all_orders_of(account).await? {
        orders.extend(view.order(id).await?);
    }
    orders.sort_by_key(|order| (order.placed, order.id));
    if args.acting.json() {
        return output::json(&orders.iter().map(output::order).collect::<Vec<_>>());
    }
    for order in &orders {
        let id = output::hex(&order.id);
        let (live, wanted) = (order.replicas.len(), order.wanted);
        let Order { cid, size, end, .. } = order;
        output::line(format_args!("{id}  {cid}  {size} bytes  {live}/{wanted} replicas  ends in slot {end}"))?;
    }
    Ok(())
}

async fn show(args: Show) -> anyhow::Result<()> {
    let chain = args.asking.connect().await?;
    let order = live(&chain, args.order).await?;
    if args.asking.json {
        return output::json(&output::order(&order));
    }
    describe(&order)
}

fn describe(order: &Order) -> anyhow::Result<()> {
    let Order { cid, size, term, start, end, .. } = order;
    output::line(format_args!("order     {}", output::hex(&order.id)))?;
    output::line(format_args!("file      {cid}, {size} bytes"))?;
    output::line(format_args!("client    {}", crust_client::wallet::address(&order.client)))?;
    output::line(format_args!("term      {term} slots, from slot {start} to slot {end}, exclusive"))?;
    output::line(format_args!("rate      {} a slot and replica", money::show(order.rate)))?;
    output::line(format_args!("balance   {}, deposit {}", money::show(order.balance), money::show(order.deposit)))?;
    output::line(format_args!("replicas  {} of {}", order.replicas.len(), order.wanted))?;
    for Replica { node, since, peer_id, health, .. } in &order.replicas {
        let health = match health {
            Some((slot, good)) => format!("{good}/255 good in slot {slot}"),
            None => "no report yet".into(),
        };
        output::line(format_args!("  node {node}: sealed in block {since}, {health}, {peer_id}"))?;
    }
    for Take { node, until, .. } in &order.takes {
        output::line(format_args!("  node {node}: has a place until block {until}"))?;
    }
    if order.cancelled {
        output::line("cancelled")?;
    }
    Ok(())
}

async fn cancel(args: Cancel) -> anyhow::Result<()> {
    let (chain, wallet) = args.acting.sign().await?;
    let included = chain.submit_finalized(Call::Cancel { order: args.order }, &wallet).await?;
    let refund = included.events.iter().find_map(|event| match event {
        Event::OrderEnded { order, refund } if *order == args.order => Some(*refund),
        _ => None,
    });
    if args.acting.json() {
        let (order, refund) = (output::hex(&args.order), refund.map(|refund| refund.to_string()));
        return output::json(&serde_json::json!({ "order": order, "ended": refund.is_some(), "refund": refund }));
    }
    match refund {
        Some(refund) => output::line(format_args!("ended; {} returned", money::show(refund))),
        None => output::line("cancelled; it ends, and the rest is returned, when its open places have lapsed"),
    }
}

async fn fund(args: Fund) -> anyhow::Result<()> {
    let (chain, wallet) = args.acting.sign().await?;
    chain.submit_finalized(Call::Fund { order: args.order, amount: args.amount }, &wallet).await?;
    let order = live(&chain, args.order).await?;
    if args.acting.json() {
        return output::json(&output::order(&order));
    }
    output::line(format_args!("the order's balance is now {}", money::show(order.balance)))
}

async fn live(chain: &Chain, id: OrderId) -> anyhow::Result<Order> {
    let order = chain.view(Finality::Best).await?.order(id).await?;
    order.ok_or_else(|| {
        anyhow::anyhow!("no such order is live: {}. It may have ended; see `crust order list`", output::hex(&id))
    })
}
