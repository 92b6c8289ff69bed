//! `crust provider`: what a provider decides about its nodes. A node registers by itself (`crust-storage`); its collateral,
//! its leave and who follows it are its provider's.

mod daemon;

use anyhow::bail;
use crust_client::{
    chain::{Audit, Barred, Call, Chain, Collateral, Finality, Node, View},
    money, wallet,
};
use crust_protocol::{Balance, Key, NodeId, order::OrderId};
use serde_json::{Value, json};

use crate::{
    access::{self, Acting},
    output,
};

/// Shows a provider's nodes, keeps them up and takes them out of service
#[derive(clap::Subcommand)]
#[command(after_help = "Example:\n  crust provider status")]
pub enum Command {
    Register(daemon::Register),
    Status(Status),
    Collateral(Deposit),
    Retire(Retire),
    Abandon(Abandon),
    Upgrade(daemon::Upgrade),
    Succeed(daemon::Succeed),
}

/// Shows the account's nodes: registration, what they may take, last report, replicas, audits and collateral
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust provider status --json")]
pub struct Status {
    #[command(flatten)]
    acting: Acting,
}

/// Adds to a node's collateral, or takes back what is free of it
///
/// Collateral is what a node answers with for the files that it holds: it takes no file without enough of it, and its
/// idle space counts only as far as it covers it. `crust-storage` tops it up to the amount in its configuration.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  crust provider collateral 7 25\n  crust provider collateral 7 10 --withdraw")]
pub struct Deposit {
    /// The node's number
    #[arg(value_name = "NODE")]
    node: NodeId,
    /// Tokens like 0.25, or plancks like 1000plancks
    #[arg(value_name = "AMOUNT", value_parser = money::parse)]
    amount: Balance,
    /// Take back instead
    #[arg(long)]
    withdraw: bool,
    #[command(flatten)]
    acting: Acting,
}

/// Has others take over what a node holds, all of it or one order's file
///
/// Keep the node running until its replicas have gone: it pays at most the difference in price, and then is free. A node
/// that retires as a whole takes nothing new, ever.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  crust provider retire 7\n  crust provider retire 7 --order 0x2f…")]
pub struct Retire {
    /// The node's number
    #[arg(value_name = "NODE")]
    node: NodeId,
    /// This order's replica alone
    #[arg(long, value_parser = access::order_id)]
    order: Option<OrderId>,
    #[command(flatten)]
    acting: Acting,
}

/// Gives up a node that can no longer speak
///
/// All its replicas count as lost and admitted: half of what is reserved for them is slashed. A node that still runs is
/// better retired.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust provider abandon 7")]
pub struct Abandon {
    /// The node's number
    #[arg(value_name = "NODE")]
    node: NodeId,
    #[command(flatten)]
    acting: Acting,
}

pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Register(args) => daemon::register(args).await,
        Command::Upgrade(args) => daemon::upgrade(args).await,
        Command::Succeed(args) => daemon::succeed(args).await,
        Command::Status(args) => status(args).await,
        Command::Collateral(Deposit { node, amount, withdraw: false, acting }) => {
            act(&acting, node, Call::DepositCollateral { node, amount }).await
        }
        Command::Collateral(Deposit { node, amount, withdraw: true, acting }) => {
            act(&acting, node, Call::WithdrawCollateral { node, amount }).await
        }
        Command::Retire(Retire { node, order: Some(order), acting }) => {
            act(&acting, node, Call::Retire { order, node }).await
        }
        Command::Retire(Retire { node, order: None, acting }) => act(&acting, node, Call::RetireNode { node }).await,
        Command::Abandon(Abandon { node, acting }) => act(&acting, node, Call::Abandon { node }).await,
    }
}

async fn status(args: Status) -> anyhow::Result<()> {
    let (chain, account) = args.acting.read().await?;
    let view = chain.view(Finality::Best).await?;
    let mut all = Vec::new();
    for node in view.all_nodes().await?.into_iter().filter(|node| node.provider == account) {
        let found = Found::of(&chain, &view, node).await?;
        if args.acting.json() {
            all.push(found.json());
        } else {
            found.show(&view)?;
        }
    }
    if args.acting.json() {
        return output::json(&all);
    }
    Ok(())
}

/// Has the provider make a call for its node; what the node is then.
async fn act(acting: &Acting, node: NodeId, call: Call) -> anyhow::Result<()> {
    let (chain, wallet) = acting.sign().await?;
    check_own(&chain, node, wallet.account()).await?;
    chain.submit_finalized(call, &wallet).await?;
    let view = chain.view(Finality::Best).await?;
    let Some(record) = view.node(node).await? else { bail!("node {node} is gone") };
    let found = Found::of(&chain, &view, record).await?;
    if acting.json() { output::json(&found.json()) } else { found.show(&view) }
}

/// Better said at once than by the chain, for a fee.
async fn check_own(chain: &Chain, node: NodeId, account: Key) -> anyhow::Result<()> {
    match chain.view(Finality::Best).await?.node(node).await? {
        None => bail!("there is no node {node}; `crust provider status` lists the account's"),
        Some(record) if record.provider != account => {
            let (owner, account) = (wallet::address(&record.provider), wallet::address(&account));
            bail!("node {node} is the provider {owner}'s, and the account is {account}: choose its key file")
        }
        Some(_) => Ok(()),
    }
}

/// All that is known of a node.
struct Found {
    node: Node,
    collateral: Collateral,
    /// What its collateral lacks.
    lacks: Balance,
    audit: Option<Audit>,
    replicas: usize,
    /// Billed bytes that its machine has room for, or why it takes nothing new.
    room: Result<u64, Barred>,
}

impl Found {
    async fn of(chain: &Chain, view: &View, node: Node) -> anyhow::Result<Found> {
        let collateral = view.collateral(node.id).await?;
        let filler = node.last_report.map_or(0, |report| report.filler_bytes);
        let lacks = collateral.lacks(chain.parameters(), filler);
        let audit = view.audit(node.id).await?;
        let replicas = view.all_node_orders(node.id).await?.len();
        let room = view.room(node.id).await?;
        Ok(Found { node, collateral, lacks, audit, replicas, room })
    }

    fn show(&self, view: &View) -> anyhow::Result<()> {
        let Found { node, collateral, lacks, audit, replicas, room } = self;
        let until = node.registered_until;
        let registered = if node.registered { "registered until" } else { "NOT registered since" };
        output::line(format_args!("node {}: {registered} block {until} (now {})", node.id, view.block().number))?;
        if let Err(barred) = room {
            output::line(format_args!("  TAKES NOTHING NEW: {barred}"))?;
        }
        if let Some(out) = node.leaves {
            output::line(format_args!("  OUT from block {out} on: then its replicas end, and it is paid no more"))?;
        }
        match node.last_report {
            Some(report) => output::line(format_args!(
                "  slot {} (now {}): {} bytes of files, {}/255 good; {} bytes of filler, {}/255 good",
                report.slot,
                view.slot(),
                report.stored_bytes,
                report.good_files,
                report.filler_bytes,
                report.good_filler
            ))?,
            None => output::line("  no report yet")?,
        }
        let [deposited, reserved, taken, free] =
            [collateral.deposited, collateral.reserved, collateral.taken, collateral.free].map(money::show);
        output::line(format_args!("  {replicas} replicas, power {}", node.power))?;
        output::line(format_args!("  collateral {deposited}: {reserved} reserved, {taken} for takes, {free} free"))?;
        if *lacks > 0 {
            output::line(format_args!(
                "  TOO LITTLE: deposit {} more, or idle space does not count in full, or no file is taken",
                money::show(*lacks)
            ))?;
        }
        let Some(Audit { due, probation, .. }) = audit else { return Ok(()) };
        if let Some(due) = due {
            let order = output::hex(&due.order);
            output::line(format_args!(
                "  drawn for chunk {} of order {order}: its next report must show it",
                due.chunk
            ))?;
        }
        if *probation > 0 {
            output::line(format_args!("  on probation: earns nothing until {probation} more answers"))?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let Found { node, collateral, lacks, audit, replicas, room } = self;
        let due = audit.as_ref().and_then(|audit| audit.due.as_ref());
        let Collateral { deposited, reserved, taken, free } = collateral;
        json!({
            "node": node.id,
            "registered": node.registered,
            "registered_until": node.registered_until,
            "leaves": node.leaves,
            "room": room.ok(),
            "barred": room.err().map(|barred| barred.to_string()),
            "last_report": node.last_report.map(|report| report.slot),
            "filler_bytes": node.last_report.map(|report| report.filler_bytes),
            "stored_bytes": node.last_report.map(|report| report.stored_bytes),
            "power": node.power.to_string(),
            "replicas": replicas,
            "collateral": {
                "deposited": deposited.to_string(),
                "reserved": reserved.to_string(),
                "taken": taken.to_string(),
                "free": free.to_string(),
                "lacks": lacks.to_string(),
            },
            "due": due.map(|due| json!({ "order": output::hex(&due.order), "chunk": due.chunk })),
            "probation": audit.as_ref().map_or(0, |audit| audit.probation),
        })
    }
}
