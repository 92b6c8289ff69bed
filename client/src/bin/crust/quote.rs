//! `crust quote`: what an order would cost.

use std::path::PathBuf;

use crust_client::{
    chain::Finality,
    money, size,
    term::Term,
    upload::{self, Import},
};

use crate::{access::Asking, output};

/// Says what it costs to store a file
///
/// Exact to the planck at the price of the moment. Refused if too few nodes may still take the file or have room for it.
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
    #[command(flatten)]
    asking: Asking,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    if let Some(path) = &args.path {
        Import::check(path)?;
    }
    let chain = args.asking.connect().await?;
    let (size, cid) = match args.path.clone() {
        Some(path) => {
            let import = tokio::task::spawn_blocking(move || Import::cut(&path, &|_| ())).await??;
            (import.size(), Some(import.root()))
        }
        None => (args.size.unwrap_or_default(), None),
    };
    let term = args.term.slots(chain.parameters());
    let quote = chain.view(Finality::Best).await?.quote(size, args.replicas, term).await?;
    upload::check_room(&chain, cid, size, args.replicas).await?;
    if args.asking.json {
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
    let [total, balance, rate, fee, deposit] =
        [quote.total, quote.balance, quote.rate, quote.placing_fee, quote.deposit].map(money::show);
    output::line(format_args!("{size} bytes, {} replicas, {term} slots: {total}", args.replicas))?;
    output::line(format_args!("  {balance} for the term, {rate} a slot and replica"))?;
    output::line(format_args!("  {fee} placing fee, not refunded"))?;
    output::line(format_args!("  {deposit} deposit, returned at the end"))
}
