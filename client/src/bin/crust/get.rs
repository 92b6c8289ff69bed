//! `crust get`: fetches a file.

use std::{path::PathBuf, sync::Arc};

use crust_client::download;
use crust_protocol::file::Cid;

use crate::{access::Asking, output};

/// Fetches a file
///
/// From all nodes at once that the chain or the DHT names for it; every block is checked. It is written beside its
/// place as PATH.part and moved there when it is complete.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  crust get bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku -o photo.jpg"
)]
pub struct Args {
    /// What the file is called: its CID
    #[arg(value_name = "CID")]
    cid: Cid,
    /// File to write, or a directory for it [default: named as the CID, in this directory]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    #[command(flatten)]
    asking: Asking,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let chain = args.asking.connect().await?;
    let path = args.output.unwrap_or_else(|| PathBuf::from(args.cid.to_string()));
    let bar = output::bytes_bar(args.asking.json);
    bar.set_message("fetching");
    let watcher = {
        let bar = bar.clone();
        Arc::new(move |bytes, of| {
            bar.set_length(of);
            bar.set_position(bytes);
        })
    };
    let result = download::get(&chain, args.cid, &path, watcher).await;
    bar.finish_and_clear();
    let done = result?;
    if args.asking.json {
        let cid = args.cid.to_string();
        return output::json(&serde_json::json!({ "cid": cid, "path": done.path, "size": done.size }));
    }
    output::line(format_args!("{} ({} bytes)", done.path.display(), done.size))
}
