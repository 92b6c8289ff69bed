//! Very many losses: how fast they are named, by the enclave process and the daemon's index and log.

use std::{fs, os::unix::fs::DirBuilderExt, sync::Arc, time::Instant};

use anyhow::bail;
use crust_enclave::{
    Constants, Enclave,
    rpc::{MAX_ORDERS, Request, Saying, Signed},
};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_protocol::{
    Hash,
    order::{Content, OrderId},
    parameters::Parameters,
    statement::first_root,
};
use crust_storage_node::{
    statements::{self, RECEIPTS},
    store::{
        index::{Record, State},
        log::{Item, Log},
    },
};

use crate::{
    checks::{content, seal},
    node::{GENESIS, Node, PROVIDER},
    table::Table,
};

const LOST: u64 = 400_000;
/// Log items, and records of the index, written at a time.
const BATCH: usize = 10_000;

pub async fn losses(table: &mut Table) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let platform = dir.path().join("platform");
    fs::DirBuilder::new().mode(0o700).create(&platform)?;
    let (log, mut prev) = receipted(SoftwarePlatform::open(&platform)?)?;
    fs::DirBuilder::new().mode(0o700).create(dir.path().join("state"))?;
    let mut kept = Log::open(dir.path().join("state/enclave.log"), None)?;
    log.chunks(BATCH).try_for_each(|items| kept.append(items))?;
    drop((kept, log));
    let node = Node::start(dir.path()).await?;
    let contents: Vec<Content> = (0..LOST).map(content).collect();
    let (disk, _) = node.disk()?;
    for contents in contents.chunks(BATCH) {
        let mut records: Vec<_> = contents.iter().map(|it| Record::new(it.clone(), State::Held)).collect();
        records.iter_mut().for_each(|record| record.disk = Some(disk));
        node.store.run(move |index| index.put(&records)).await?;
    }

    let started = Instant::now();
    let orders: Vec<OrderId> = contents.iter().map(Content::id).collect();
    for orders in orders.chunks(MAX_ORDERS) {
        node.enclave.change(Request::Lost { orders: orders.to_vec() }).await?;
    }
    let declared = started.elapsed().as_secs_f64();
    let (mut gones, mut most, mut all, mut named) = (0_u32, 0.0_f64, 0.0_f64, 0);
    loop {
        let started = Instant::now();
        let due = statements::gone_due(&node.enclave, prev).await?;
        if due.is_empty() {
            break;
        }
        named += due.len();
        statements::mark_lost(&node.store, &due).await?;
        let (statement, _) = statements::sign(&node.enclave, Saying::Gone { prev, orders: due }).await?;
        prev = statement.root();
        let took = started.elapsed().as_secs_f64();
        (gones, most, all) = (gones + 1, most.max(took), all + took);
    }
    if named as u64 != LOST {
        bail!("{named} losses were named");
    }
    let slots = f64::from(gones) / f64::from(Parameters::PRODUCTION.slot_blocks);
    table.add(
        format!("{LOST} losses, one `Gone` of 256 a block"),
        format!("{gones} blocks, {slots:.1} slots; given up in {declared:.1} s"),
        "≤ 3 slots of 600 blocks",
    );
    let figure = format!("{:.0} ms, at most {:.0} ms", all / f64::from(gones) * 1e3, most * 1e3);
    table.add("each of those, by enclave, log and index", figure, "less than a block's 6 s");
    Ok(())
}

/// A log of so many small files with receipts, and the last root.
fn receipted(platform: SoftwarePlatform) -> anyhow::Result<(Vec<Item>, Hash)> {
    let mut enclave = Enclave::new(Arc::new(platform), Constants::PRODUCTION);
    let opened = enclave.open(GENESIS, PROVIDER)?;
    let (mut log, mut root, mut orders) = (opened.items, first_root(&opened.sign_pk), Vec::new());
    for nonce in 0..LOST {
        let (order, _, item) = seal(&mut enclave, nonce)?;
        log.push(item);
        orders.push(order);
    }
    for orders in orders.chunks(RECEIPTS) {
        let (item, signed) = enclave.say(Saying::Receipts { prev: root, orders: orders.to_vec() })?;
        log.push(item);
        let Signed::Receipts(receipts) = signed else { bail!("no receipt") };
        root = receipts.root;
    }
    Ok((log, root))
}
