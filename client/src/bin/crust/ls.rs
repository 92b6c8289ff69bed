//! `crust ls`: what is behind a CID.

use crust_client::listing::{self, Listing};
use crust_protocol::file::Cid;

use crate::{access::Asking, output};

/// Shows what a CID names: a file and its size, or the entries of a directory
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust ls bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354")]
pub struct Args {
    #[arg(value_name = "CID")]
    cid: Cid,
    #[command(flatten)]
    asking: Asking,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let chain = args.asking.connect().await?;
    let cid = args.cid.to_string();
    match listing::list(&chain, args.cid).await? {
        Listing::File { size } if args.asking.json => {
            output::json(&serde_json::json!({ "cid": cid, "type": "file", "size": size }))
        }
        Listing::File { size } => output::line(format_args!("{cid}  {size}  file")),
        Listing::Directory(items) if args.asking.json => {
            let items: Vec<_> = items
                .iter()
                .map(|item| {
                    let cid = item.cid.map(|cid| cid.to_string());
                    serde_json::json!({ "name": item.name, "cid": cid, "size": item.size })
                })
                .collect();
            output::json(&serde_json::json!({ "cid": cid, "type": "directory", "entries": items }))
        }
        Listing::Directory(items) => {
            for item in items {
                let cid = item.cid.map_or_else(|| "-".into(), |cid| cid.to_string());
                let size = item.size.map_or_else(|| "-".into(), |size| size.to_string());
                output::line(format_args!("{cid}  {size}  {}", item.name))?;
            }
            Ok(())
        }
    }
}
