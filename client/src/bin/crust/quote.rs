//! `crust quote`: what an order would cost.

use std::path::PathBuf;

use anyhow::bail;
use crust_client::{
    chain::{Finality, View},
    money, size,
    term::Term,
    upload::{self, Import},
};
use crust_protocol::file::Cid;

use crate::{access::ChainArgs, output};

/// Says what it costs to store a file
///
/// Exact to the planck at the price of the moment. Refused if the network has too few nodes for it.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  crust quote photo.jpg --replicas 3 --term 1y\n  crust quote --size 10GiB")]
pub struct Args {
    /// The file
    #[arg(value_name = "PATH", required_unless_present = "size", conflicts_with = "size")]
    path: Option<PathBuf>,
    /// Instead of a file: bytes of all its blocks, like 10GiB
    #[arg(long, value_parser = size::parse)]
    size: Option<u64>,
    /// Nodes that are to hold it, of as many providers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    replicas: u32,
    /// How long, like 30d, 12h or 1y
    #[arg(long, default_value = "30d")]
    term: Term,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    chain: ChainArgs,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(path) = &args.path {
        Import::check(path)?;
    }
    let chain = args.chain.connect().await?;
    let (size, cid) = match args.path.clone() {
        Some(path) => {
            let import = tokio::task::spawn_blocking(move || Import::cut(&path, &|_| ())).await??;
            (import.size(), Some(import.root()))
        }
        None => (args.size.unwrap_or_default(), None),
    };
    let term = args.term.slots(chain.parameters());
    let view = chain.view(Finality::Best).await?;
    let quote = view.quote(size, args.replicas, term).await?;
    check_nodes(&view, cid, args.replicas).await?;
    if args.json {
        return output::json(&serde_json::json!({
            "size": size,
            "cid": cid.map(|cid| cid.to_string()),
            "replicas": args.replicas,
            "term": term,
            "rate": quote.rate.to_string(),
            "balance": quote.balance.to_string(),
            "placing_fee": quote.placing_fee.to_string(),
            "deposit": quote.deposit.to_string(),
            "total": quote.total.to_string(),
        }));
    }
    println!("{size} bytes, {} replicas, {term} slots: {}", args.replicas, money::show(quote.total));
    println!("  {} for the term, {} a slot and replica", money::show(quote.balance), money::show(quote.rate));
    println!("  {} placing fee, not refunded", money::show(quote.placing_fee));
    println!("  {} deposit, returned at the end", money::show(quote.deposit));
    Ok(())
}

async fn check_nodes(view: &View, cid: Option<Cid>, wanted: u32) -> anyhow::Result<()> {
    let able = upload::able(view, cid).await?;
    if able < wanted {
        bail!(upload::Error::TooFewNodes { wanted, able });
    }
    Ok(())
}
