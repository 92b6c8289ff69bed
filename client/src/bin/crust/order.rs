//! `crust order`: the account's orders.

use crust_client::{
    chain::{Call, Chain, Event, Finality, Order},
    money,
};
use crust_protocol::{Balance, order::OrderId};

use crate::{
    access::{AccountArgs, ChainArgs},
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
    /// Print a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    chain: ChainArgs,
    #[command(flatten)]
    account: AccountArgs,
}

/// Shows an order: its replicas, their nodes and health, its money
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust order show 0x2f…")]
pub struct Show {
    #[arg(value_name = "ORDER", value_parser = order_id)]
    order: OrderId,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    chain: ChainArgs,
}

/// Ends an order; what its nodes have not earned is returned
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust order cancel 0x2f…")]
pub struct Cancel {
    #[arg(value_name = "ORDER", value_parser = order_id)]
    order: OrderId,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    chain: ChainArgs,
    #[command(flatten)]
    account: AccountArgs,
}

/// Adds money to an order, one's own or another's, so that it goes on after its term
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust order fund 0x2f… 0.25")]
pub struct Fund {
    #[arg(value_name = "ORDER", value_parser = order_id)]
    order: OrderId,
    /// Tokens like 0.25, or plancks like 1000plancks
    #[arg(value_name = "AMOUNT", value_parser = money::parse)]
    amount: Balance,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    chain: ChainArgs,
    #[command(flatten)]
    account: AccountArgs,
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
    let chain = args.chain.connect().await?;
    let account = args.account.account(&chain)?;
    let view = chain.view(Finality::Best).await?;
    let mut orders = Vec::new();
    for id in view.all_orders_of(account).await? {
        orders.extend(view.order(id).await?);
    }
    orders.sort_by_key(|order| (order.placed, order.id));
    if args.json {
        return output::json(&orders.iter().map(output::order).collect::<Vec<_>>());
    }
    for order in &orders {
        let id = output::hex(&order.id);
        let (live, wanted) = (order.replicas.len(), order.wanted);
        println!("{id}  {}  {} bytes  {live}/{wanted} replicas  ends in slot {}", order.cid, order.size, order.end);
    }
    Ok(())
}

async fn show(args: Show) -> anyhow::Result<()> {
    let chain = args.chain.connect().await?;
    let order = live(&chain, args.order).await?;
    if args.json {
        return output::json(&output::order(&order));
    }
    println!("order     {}", output::hex(&order.id));
    println!("file      {}, {} bytes", order.cid, order.size);
    println!("client    {}", crust_client::wallet::address(&order.client));
    println!("term      {} slots, from slot {} to slot {}, exclusive", order.term, order.start, order.end);
    println!("rate      {} a slot and replica", money::show(order.rate));
    println!("balance   {}, deposit {}", money::show(order.balance), money::show(order.deposit));
    println!("replicas  {} of {}", order.replicas.len(), order.wanted);
    for replica in &order.replicas {
        let health = match replica.health {
            Some((slot, good)) => format!("{good}/255 good in slot {slot}"),
            None => "no report yet".into(),
        };
        println!("  node {}: sealed in block {}, {health}, {}", replica.node, replica.since, replica.peer_id);
    }
    for take in &order.takes {
        println!("  node {}: has a place until block {}", take.node, take.until);
    }
    if order.cancelled {
        println!("cancelled");
    }
    Ok(())
}

async fn cancel(args: Cancel) -> anyhow::Result<()> {
    let chain = args.chain.connect().await?;
    let wallet = args.account.wallet(&chain)?;
    let included = chain.submit_finalized(Call::Cancel { order: args.order }, &wallet).await?;
    let refund = included.events.iter().find_map(|event| match event {
        Event::OrderEnded { order, refund } if *order == args.order => Some(*refund),
        _ => None,
    });
    if args.json {
        let (order, refund) = (output::hex(&args.order), refund.map(|refund| refund.to_string()));
        return output::json(&serde_json::json!({ "order": order, "ended": refund.is_some(), "refund": refund }));
    }
    match refund {
        Some(refund) => println!("ended; {} returned", money::show(refund)),
        None => println!("cancelled; it ends, and the rest is returned, when its open places have lapsed"),
    }
    Ok(())
}

async fn fund(args: Fund) -> anyhow::Result<()> {
    let chain = args.chain.connect().await?;
    let wallet = args.account.wallet(&chain)?;
    chain.submit_finalized(Call::Fund { order: args.order, amount: args.amount }, &wallet).await?;
    let order = live(&chain, args.order).await?;
    if args.json {
        return output::json(&output::order(&order));
    }
    println!("the order's balance is now {}", money::show(order.balance));
    Ok(())
}

async fn live(chain: &Chain, id: OrderId) -> anyhow::Result<Order> {
    let order = chain.view(Finality::Best).await?.order(id).await?;
    order.ok_or_else(|| {
        anyhow::anyhow!("no such order is live: {}. It may have ended; see `crust order list`", output::hex(&id))
    })
}

fn order_id(text: &str) -> Result<OrderId, String> {
    let wrong =
        || "an order is 64 hexadecimal digits after 0x, as `crust put` and `crust order list` print it".to_string();
    let mut id = OrderId::default();
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut id).map_err(|_| wrong())?;
    Ok(id)
}
