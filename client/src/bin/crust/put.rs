//! `crust put`: stores a file.

use std::{path::PathBuf, sync::Arc};

use crust_client::{
    money,
    term::Term,
    upload::{self, Import, Progress, Wish},
};

use crate::{Misuse, access::Acting, output};

/// Stores a file
///
/// Cuts the file into blocks, places an order and hands the blocks to the nodes that take it. Done when the first
/// node's receipt is final; the other nodes fetch from that one. Interrupted, it goes on with its order when it is run
/// again, and that costs nothing.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust put photo.jpg --replicas 3 --term 1y --wait")]
pub struct Args {
    /// The file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Nodes that are to hold it, of as many providers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    replicas: u32,
    /// How long, like 30d, 12h or 1y; an order with enough money goes on
    #[arg(long, default_value = "30d")]
    term: Term,
    /// Encrypt the file
    #[arg(long)]
    private: bool,
    /// Wait until all replicas are sealed, not only the first
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    acting: Acting,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    if args.private {
        return Err(
            Misuse("private files cannot be stored yet: encrypt the file yourself and put the result".into()).into()
        );
    }
    Import::check(&args.path)?;
    let (chain, wallet) = args.acting.sign().await?;
    let bar = output::bytes_bar(args.acting.json());
    let watcher = {
        let bar = bar.clone();
        Arc::new(move |progress| show(&bar, progress))
    };
    let wish = Wish { replicas: args.replicas, term: args.term, wait: args.wait };
    let result = upload::put(&chain, &wallet, &args.path, wish, watcher).await;
    bar.finish_and_clear();
    let done = result?;
    if done.wanted != args.replicas {
        let wanted = done.wanted;
        output::note(format_args!(
            "crust: an own order for this file was live already and was gone on with: {wanted} replicas, not {}",
            args.replicas
        ));
    }
    if args.acting.json() {
        let replicas = done.replicas.iter();
        let replicas: Vec<_> =
            replicas.map(|(node, block)| serde_json::json!({ "node": node, "sealed_at": block })).collect();
        return output::json(&serde_json::json!({
            "cid": done.cid.to_string(),
            "order": output::hex(&done.order),
            "size": done.size,
            "price": done.price.to_string(),
            "resumed": done.resumed,
            "replicas": replicas,
        }));
    }
    output::line(done.cid)?;
    let paid = if done.resumed { "paid before".into() } else { money::show(done.price) };
    output::line(format_args!("order {}, {} bytes, {paid}", output::hex(&done.order), done.size))?;
    for (node, block) in done.replicas {
        output::line(format_args!("node {node} has sealed it, in block {block}"))?;
    }
    Ok(())
}

fn show(bar: &indicatif::ProgressBar, progress: Progress) {
    let (message, bytes, of) = match progress {
        Progress::Cut { bytes, of } => ("cutting", bytes, of),
        Progress::Checked { bytes, of } => ("checking", bytes, of),
        Progress::Sent { bytes, of } => ("sending", bytes, of),
        Progress::Ordered { order, resumed, replicas } => {
            let how = if resumed { "going on with" } else { "placed" };
            bar.println(format!("{how} order {}, {replicas} replicas", output::hex(&order)));
            bar.reset();
            return bar.set_message("waiting");
        }
        Progress::Taken { node } => return bar.println(format!("node {node} has taken a place")),
        Progress::Sealed { node } => return bar.println(format!("node {node} has sealed the file")),
    };
    bar.set_message(message);
    bar.set_length(of);
    bar.set_position(bytes);
}
