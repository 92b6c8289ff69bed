//! Hash trees that are damaged beyond their parity, made anew out of the sealed files that they belong to: the file itself
//! is whole, and it would be lost for want of its tree at the first draw that asks for it.

use std::io;

use crust_enclave::{
    rpc::{Request, Response},
    tree,
};
use crust_protocol::order::OrderId;

use crate::{
    enclave_client::{self, Enclave},
    store::{
        self, Store,
        sealed::{self, Writer},
    },
    workers::Error,
};

/// Sealed chunks that the enclave is given at a time.
const AT_ONCE: u64 = 16;

/// Reads a sealed file once, has the enclave make its hash tree, and puts that in the place of the damaged one. Cut off
/// anywhere, it is done again.
pub async fn make_anew(store: &Store, enclave: &Enclave, order: OrderId) -> Result<(), Error> {
    let record = store.run(move |index| index.order(&order)).await?;
    let record = record.ok_or_else(|| Error::Other("the index does not know the file yet".into()))?;
    let (size, disk) = (record.content.size, record.disk.unwrap_or_default());
    let file = store.file(&record)?;
    let root = store.disk(&disk).ok_or(store::Error::NoDisk(disk))?.path.clone();
    let path = sealed::tree_path(&root, &order);
    let broken = |source: io::Error| store::Error::Io { path: path.clone(), source };

    let mut connection = enclave.connection().await?;
    connection.ask(Request::TreeBegin { order }).await?;
    let mut writer = Writer::create(path.clone(), store.parity.then(|| tree::length(size))).await.map_err(broken)?;
    let chunks = sealed::chunks(size);
    let mut first = 0;
    loop {
        let request = if first < chunks {
            let (file, at, count) = (file.clone(), first, AT_ONCE.min(chunks.saturating_sub(first)));
            let read = tokio::task::spawn_blocking(move || sealed::read(&file, at, count));
            let sealed = read.await.map_err(io::Error::other).and_then(|read| read).map_err(broken)?;
            first = first.saturating_add(count);
            Request::TreeChunks { sealed }
        } else {
            Request::SealEnd
        };
        let end = matches!(request, Request::SealEnd);
        match connection.ask(request).await {
            Ok(Response::SealOut { tree, .. }) => writer.append(tree).await.map_err(broken)?,
            Ok(_) => return Err(enclave_client::Error::Answer("TreeChunks").into()),
            Err(error) => {
                writer.discard().await;
                return Err(error.into());
            }
        }
        if end {
            break;
        }
    }
    writer.finish().await.map_err(broken)?;
    enclave.exclusive().await.change_on(&mut connection, Request::SealCommit { disk }).await?;
    tracing::warn!(order = hex::encode(order), "its hash tree was damaged and is made anew");
    metrics::counter!("crust_trees_made_anew_total").increment(1);
    Ok(())
}
