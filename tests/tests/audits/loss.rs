//! A node that loses files: what it pays, to whom, and how it goes on.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crust_client::{
    chain::{Call, Event, Finality, NewOrder},
    wallet::Wallet,
};
use crust_protocol::{
    Balance, TOKEN,
    file::{Cid, Codec, HashFunction},
    order::{Content, OrderId},
};
use crust_tests::{Network, Options, StorageNode, set_audit_rate, write_payload};

use crate::{MIB, events, next_report, number_of, order_id, view_at};

const PROVIDER: &str = "//Provider9";

/// A node without collateral takes nothing and says so, to its operator, to its provider and to clients; with it, it takes
/// the next order at once.
///
/// Then the larger of its two files is deleted under it. It gives the file up when it is drawn, with all that was
/// reserved for it and a seventh of everything reserved, serves its probation by answering for the other file, and earns
/// again. Every planck of it is accounted for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_file_costs_what_the_protocol_says_and_the_node_comes_back() {
    let network = Network::with(Options { nodes: 0, ..Options::default() }).await.unwrap();
    let (dir, chain_url) = (network.dir().join("storage"), &network.endpoints.chain);
    let node = StorageNode::with_collateral(&dir, chain_url, PROVIDER, "0", &["128MiB"]).unwrap();
    node.ready().await.unwrap();
    let number = number_of(&node).await;
    let chain = network.chain().await.unwrap();
    let parameters = chain.parameters();
    let client = Wallet::development("//Client", &chain).unwrap();
    let files: Vec<PathBuf> = ["lost", "kept"].map(|name| network.dir().join(name)).into();
    write_payload(&files[0], 91, 8 * MIB).unwrap();
    write_payload(&files[1], 92, MIB).unwrap();

    says_that_its_collateral_is_too_little(&network, &node, &client, files[0].to_str().unwrap()).await;
    let name = number.to_string();
    let deposit = ["provider", "collateral", &name, "1", "--account", PROVIDER, "--json"];
    let deposited = network.crust(deposit).await.unwrap().json().unwrap();
    assert_eq!(deposited["collateral"]["deposited"], TOKEN.to_string(), "{deposited}");
    assert_eq!(deposited["collateral"]["lacks"], "0", "{deposited}");

    let mut orders: Vec<OrderId> = Vec::new();
    for file in &files {
        let put = network.put(file, &["--replicas", "1", "--term", "2h", "--wait"]).await.unwrap();
        orders.push(order_id(&put.order));
    }
    let [lost, kept] = orders[..] else { panic!("two orders") };
    let view = chain.view(Finality::Best).await.unwrap();
    let mut rates = BTreeMap::new();
    let mut since = BTreeMap::new();
    for order in [lost, kept] {
        let record = view.order(order).await.unwrap().unwrap();
        rates.insert(order, record.rate);
        since.insert(order, record.replica_of(number).unwrap().since);
    }
    let slots = Balance::from(parameters.collateral_slots);
    let reserved = |order: &OrderId| rates[order] * slots;
    let before = view.collateral(number).await.unwrap();
    assert_eq!((before.deposited, before.reserved), (TOKEN, reserved(&lost) + reserved(&kept)));
    next_report(&network, number).await;
    let well = network.crust(["doctor", "--node", &node.admin]).await.unwrap();
    assert_eq!(well.status, Some(0), "{well:?}");
    set_audit_rate(&network, 1).await.unwrap();

    // One file and its parity are gone; what is left of it, its tree, answers nothing. Of the other the tree is gone: that
    // can be made anew.
    let sealed = |order: &OrderId| {
        let name = hex::encode(order);
        node.dir.join("disk-0/sealed").join(&name[..2]).join(&name)
    };
    for ending in ["", ".parity"] {
        fs::remove_file(format!("{}{ending}", sealed(&lost).display())).unwrap();
    }
    for ending in [".tree", ".tree.parity"] {
        fs::remove_file(format!("{}{ending}", sealed(&kept).display())).unwrap();
    }
    let failed = network.until("the drawn file is given up", 150, |view| async move {
        let failed = view.events().await?.into_iter().find_map(|event| match event {
            Event::DrawFailed { node, amount } if node == number => Some(amount),
            _ => None,
        });
        Ok(failed.map(|amount| (view.block().number, amount)))
    });
    let (failed, seventh) = failed.await.unwrap();
    let view = view_at(&chain, failed).await;
    assert_eq!(seventh, before.reserved / 7);
    assert_eq!(view.audit(number).await.unwrap().unwrap().probation, parameters.probation);
    assert!(view.order(lost).await.unwrap().is_none(), "its last replica ends the order");
    assert!(view.order(kept).await.unwrap().is_some());
    let shown = network.crust(["provider", "status", "--account", PROVIDER, "--json"]).await.unwrap().json().unwrap();
    assert!(shown[0]["probation"].as_u64().unwrap() > 0, "{shown}");

    // What the replica reserved is lost as a whole: as much as the client has paid for it goes back to him, the rest to
    // the treasury. What was earned before stays earned.
    let all = events(&chain, since[&lost], failed).await;
    let paid: Balance = claimed(&all, lost).iter().sum();
    assert_eq!(paid, rates[&lost] * units(&network, number, since[&lost], failed).await / 255);
    let slashed = all.iter().filter_map(|(_, event)| match event {
        Event::Slashed { to_order, to_client, to_treasury, .. } => Some((*to_order, *to_client, *to_treasury)),
        _ => None,
    });
    let to_client = paid.min(reserved(&lost));
    assert_eq!(slashed.collect::<Vec<_>>(), [(0, to_client, reserved(&lost) - to_client)]);
    let after = view.collateral(number).await.unwrap();
    assert_eq!((after.deposited, after.reserved), (TOKEN - seventh - reserved(&lost), reserved(&kept)));

    // Each slot draws it now; when it has answered often enough in a row it earns again.
    let back = network.until("the probation is served", 90, |view| async move {
        let record = view.node(number).await?.unwrap();
        let served = view.audit(number).await?.unwrap().probation == 0 && record.power > 0;
        Ok(served.then_some(view.block().number))
    });
    let back = back.await.unwrap();
    let all = events(&chain, failed + 1, back).await;
    let mut answers =
        all.iter().filter(|(_, event)| matches!(event, Event::DrawAnswered { .. })).map(|(block, _)| *block);
    for left in (0..parameters.probation).rev() {
        let view = view_at(&chain, answers.next().unwrap()).await;
        assert_eq!(view.audit(number).await.unwrap().unwrap().probation, left);
        assert_eq!(view.node(number).await.unwrap().unwrap().power, 0, "nothing is earned on probation");
    }
    // The daemon may be faster: then there is nothing to claim, and what it claimed counts.
    let last = match chain.submit(Call::Claim { order: kept, node: number }, &client).await {
        Ok(claim) => claim.block.number,
        Err(error) => {
            assert!(error.to_string().contains("NothingEarned"), "{error}");
            chain.best().await.unwrap().number
        }
    };
    let all = events(&chain, since[&kept], last).await;
    let paid: Balance = claimed(&all, kept).iter().sum();
    assert_eq!(paid, claimable(rates[&kept] * units(&network, number, since[&kept], last).await / 255));
    let end = view_at(&chain, last).await.collateral(number).await.unwrap();
    assert_eq!((end.deposited, end.reserved), (after.deposited, after.reserved), "the failure costs once");
    assert!(all.iter().all(|(block, event)| *block <= failed || !matches!(event, Event::Slashed { .. })));
    assert!(sealed(&kept).with_extension("tree").exists());
    let cid = chain.view(Finality::Best).await.unwrap().order(kept).await.unwrap().unwrap().cid.to_string();
    assert!(network.get(&cid).await.unwrap() == fs::read(&files[1]).unwrap());
}

/// Of two disks one is gone for good. Taken out of the configuration and given up before anything on it is drawn, it costs
/// half of what its files reserve, which the daemon deposits anew; the rest goes on as if it had never been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_given_up_costs_half_of_what_its_files_reserve() {
    let network = Network::with(Options { nodes: 0, ..Options::default() }).await.unwrap();
    let (dir, chain_url) = (network.dir().join("storage"), &network.endpoints.chain);
    let mut node = StorageNode::with_collateral(&dir, chain_url, PROVIDER, "1", &["64MiB", "64MiB"]).unwrap();
    node.ready().await.unwrap();
    set_audit_rate(&network, 0).await.unwrap();
    let (number, chain) = (number_of(&node).await, network.chain().await.unwrap());
    let mut of_disk: BTreeMap<String, Vec<OrderId>> = BTreeMap::new();
    for seed in 101..109 {
        let file = network.file(seed, MIB).unwrap();
        network.put(&file, &["--replicas", "1", "--term", "2h", "--wait"]).await.unwrap();
        let files = node.admin("/v1/files").await.unwrap();
        of_disk.clear();
        for file in files["files"].as_array().unwrap() {
            let disk = file["disk"].as_str().unwrap().to_owned();
            of_disk.entry(disk).or_default().push(order_id(file["order"].as_str().unwrap()));
        }
        if of_disk.len() == 2 {
            break;
        }
    }
    let disks: BTreeMap<String, String> = node.admin("/v1/status").await.unwrap()["disks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|disk| (disk["path"].as_str().unwrap().to_owned(), disk["id"].as_str().unwrap().to_owned()))
        .collect();
    let (path, gone) = disks.last_key_value().unwrap();
    let (lost, kept) = (&of_disk[gone], of_disk.iter().find(|(disk, _)| *disk != gone).unwrap().1);
    assert_eq!(give_up(&node, gone).await, None, "a disk of the configuration is not given up");
    next_report(&network, number).await;

    node.kill();
    fs::remove_dir_all(path).unwrap();
    let config = fs::read_to_string(node.dir.join("storage.toml")).unwrap();
    let (rest, last) = config.rsplit_once("[[disks]]").unwrap();
    assert!(last.contains("disk-1") && path.ends_with("disk-1"));
    fs::write(node.dir.join("storage.toml"), rest).unwrap();
    let (first, keeps) = (chain.best().await.unwrap().number, kept.len());
    node.run().unwrap();
    node.ready().await.unwrap();
    assert_eq!(give_up(&node, gone).await, Some(lost.len() as u64));
    let well = network.until("all is well without it", 90, |view| async move {
        let report = view.node(number).await?.unwrap().last_report.unwrap();
        let left = view.all_node_orders(number).await?;
        let collateral = view.collateral(number).await?;
        let well = (report.good_files, report.good_filler, collateral.deposited) == (255, 255, TOKEN);
        Ok((well && left.len() == keeps && report.block > first).then_some(view.block().number))
    });
    let well = well.await.unwrap();
    let all = events(&chain, first, well).await;
    let each = chain.parameters().rate(MIB) * Balance::from(chain.parameters().collateral_slots) / 2;
    let (mut slashed, mut deposited) = (BTreeMap::new(), 0);
    for (_, event) in all {
        match event {
            Event::Slashed { order, to_order, to_client, to_treasury, .. } => {
                slashed.insert(order, to_order + to_client + to_treasury);
            }
            Event::CollateralDeposited { amount, .. } => deposited += amount,
            _ => {}
        }
    }
    assert_eq!(slashed, lost.iter().map(|order| (*order, each)).collect());
    assert_eq!(deposited, each * lost.len() as Balance);
    let view = chain.view(Finality::Best).await.unwrap();
    for order in kept {
        let cid = view.order(*order).await.unwrap().unwrap().cid.to_string();
        assert_eq!(network.get(&cid).await.unwrap().len() as u64, MIB);
    }
}

/// `POST /v1/lost`: how many files are given up, if it is not refused.
async fn give_up(node: &StorageNode, disk: &str) -> Option<u64> {
    let body = serde_json::json!({ "disk": disk });
    let answer = reqwest::Client::new().post(format!("{}/v1/lost", node.admin)).json(&body).send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    answer["files"].as_u64()
}

/// Status, metrics, `crust provider status`, `crust quote` and `crust put`; and the node passes an open order over.
async fn says_that_its_collateral_is_too_little(network: &Network, node: &StorageNode, client: &Wallet, file: &str) {
    let shown = network.crust(["provider", "status", "--account", PROVIDER]).await.unwrap();
    assert!(shown.status == Some(0) && shown.stdout.contains("TOO LITTLE"), "{shown:?}");
    for words in [["quote", file, "--replicas", "1"], ["put", file, "--replicas", "1"]] {
        let refused = network.crust(words).await.unwrap();
        assert!(refused.status == Some(1) && refused.stderr.contains("collateral"), "{refused:?}");
    }
    // Somebody orders all the same.
    let chain = network.chain().await.unwrap();
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"nobody takes this");
    let content = Content { client: client.account(), nonce: 5, cid, size: 17, audit_root: [7; 32], flags: 0 };
    let balance = chain.view(Finality::Best).await.unwrap().quote(content.size, 1, 100).await.unwrap().balance;
    let Content { nonce, cid, size, audit_root, flags, .. } = content.clone();
    let order = NewOrder { nonce, cid, size, audit_root, flags, replicas: 1, term: 100, balance };
    chain.submit(Call::PlaceOrder(order), client).await.unwrap();
    for (worker, says) in [("collateral", "too little"), ("watch_orders", "want of collateral")] {
        network
            .until("the worker says what it lacks", 40, |_| async {
                Ok(node.error_of(worker).await?.filter(|error| error.contains(says)))
            })
            .await
            .unwrap();
    }
    let metrics = reqwest::get(format!("{}/metrics", node.admin)).await.unwrap().text().await.unwrap();
    for line in ["crust_orders_without_collateral 1", "crust_collateral_tokens{part=\"deposited\"} 0"] {
        assert!(metrics.lines().any(|it| it == line), "{line} is not in {metrics}");
    }
    chain.submit(Call::Cancel { order: content.id() }, client).await.unwrap();
}

/// All that was paid for an order, payment by payment.
fn claimed(events: &[(u32, Event)], wanted: OrderId) -> Vec<Balance> {
    let payment = |event: &Event| match event {
        Event::Claimed { order, provider_part, pot_part, treasury_part, .. } if *order == wanted => {
            Some(provider_part + pot_part + treasury_part)
        }
        _ => None,
    };
    events.iter().filter_map(|(_, event)| payment(event)).collect()
}

/// What a claim pays of a sum: a planck is left where the next one would let both shares of the others rise at once.
fn claimable(sum: Balance) -> Balance {
    if (sum + 1).is_multiple_of(20) { sum - 1 } else { sum }
}

/// The sum of `good_files` over the node's reports from one block to another that count: not those on probation.
async fn units(network: &Network, node: u32, first: u32, last: u32) -> Balance {
    let chain = network.chain().await.unwrap();
    let mut sum = 0;
    for block in first..=last {
        let report = view_at(&chain, block).await.node(node).await.unwrap().unwrap().last_report;
        let before = view_at(&chain, block - 1).await.audit(node).await.unwrap().unwrap().probation;
        sum +=
            report.filter(|report| report.block == block && before == 0).map_or(0, |it| Balance::from(it.good_files));
    }
    sum
}
