//! `ls`: what is behind a CID, read from its root block alone.

use crust_protocol::{file::Cid, file::Link};

use crate::{
    chain::Chain,
    download::{Error, Source},
    unixfs::{self, Entry},
};

/// What a CID names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listing {
    File {
        /// Bytes of the file.
        size: u64,
    },
    Directory(Vec<Item>),
}

/// An entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    pub name: String,
    /// `None`: its data stands in the link itself.
    pub cid: Option<Cid>,
    /// Bytes of all blocks below, as the directory has it.
    pub size: Option<u64>,
}

/// Fetches the root block and reads it.
pub async fn list(chain: &Chain, cid: Cid) -> Result<Listing, Error> {
    let source = Source::open(chain, cid).await?;
    let root = source.root().await;
    source.close().await;
    let refuse = |reason: String| Error::NotAFile { cid, reason };
    match unixfs::decode(cid.codec(), &root?) {
        Ok(Entry::File(file)) => Ok(Listing::File { size: file.size }),
        Ok(Entry::Directory(entries)) => Ok(Listing::Directory(entries.into_iter().map(item).collect())),
        Ok(Entry::Sharded) => Err(refuse("it is a directory over several blocks, which cannot be listed yet".into())),
        Ok(Entry::Symlink) => Err(refuse("it is a symbolic link".into())),
        Ok(Entry::Other(what)) => Err(refuse(format!("it is {what}"))),
        Err(error) => Err(refuse(error.to_string())),
    }
}

fn item(named: unixfs::Named) -> Item {
    let cid = match named.link {
        Link::Block(cid) => Some(cid),
        Link::Inline { .. } => None,
    };
    Item { name: named.name, cid, size: named.size }
}
