//! A dead board, and a standby on another machine.

use std::{fs, time::Duration};

use crust_client::chain::Finality;
use crust_tests::{KeptEnclave, Pccs, StorageNode};
use serde_json::json;
use tokio::time::timeout;

use crate::{MIB, World, file, sealed};

/// A node's board dies with its sealing keys, its state and its enclave; its disks are moved to the standby, which had the
/// key before. It takes the node over before anybody is counted as silent: with its number, its file and every sealed
/// byte. Before that it keeps its registration up by itself; while the node lives, and with a log that is not where the
/// chain stands, it does not follow. Its own platform keeps no key, so its enclave is the last that has it: nothing that
/// fails costs it that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_goes_on_for_a_dead_board() {
    let world = World::start().await;
    let (dir, spare) = (world.path("node"), world.path("spare"));
    let disks = [world.path("disk-0"), world.path("disk-1")];
    let sized = [(disks[0].clone(), "64MiB"), (disks[1].clone(), "64MiB")];
    let mut node =
        StorageNode::prepare(&dir, &world.url, ("//Provider3", "100"), &sized, &world.configuration()).unwrap();
    let enclave = KeptEnclave::start(&node.socket(), &dir.join("platform"), &[]).unwrap();
    node.run_daemon().unwrap();
    node.ready().await.unwrap();
    let number = u32::try_from(node.admin("/v1/status").await.unwrap()["node"].as_u64().unwrap()).unwrap();
    let first = world.node(number).await;

    let more = format!("{}standby = {{ node = {number}, admin = \"{}\" }}\n", world.configuration(), node.admin);
    let mut standby = StorageNode::prepare(&spare, &world.url, ("//Provider3", "100"), &sized, &more).unwrap();
    let guest = ["--no-sealing-key"];
    let standbys = KeptEnclave::start(&standby.socket(), &spare.join("platform"), &guest).unwrap();
    standby.run_daemon().unwrap();
    standby.ready().await.unwrap();
    let key = standby.admin("/v1/standby").await.unwrap()["heir"].as_str().unwrap().to_owned();
    let named = world.node(number).await.heir.unwrap();
    assert_eq!(key, format!("0x{}", hex::encode(named)));
    // While the node lives its key can be had again, and so the same heir goes on.
    standbys.kill().unwrap();
    says("the enclave has its key back", async || Ok(Some(standby.log()))).await;
    let stood_by = world.chain.view(Finality::Best).await.unwrap().standby(named).await.unwrap().unwrap();

    // A log from the time before the file.
    let old_log = world.path("old.log");
    fs::copy(disks[0].join("enclave.log"), &old_log).unwrap();
    let payload = file(&world, "file", 41, 8 * MIB);
    let put = world.put(&payload).await;
    world.next_report(number).await;
    let bytes = sealed(&disks);
    assert!(bytes.len() >= 2, "a sealed file and its hash tree: {bytes:?}");

    // It waits for long enough to be registered anew, as the node is.
    let renewed = |node: &crust_client::chain::Node| (node.registered_until > first.registered_until).then_some(());
    world.until("the node's renewal", number, 60, renewed).await;
    let mut heads = Box::pin(world.chain.blocks(Finality::Best));
    let renewed = async {
        while let Some(head) = futures::StreamExt::next(&mut heads).await {
            let view = world.chain.view_at(head).await.unwrap();
            if view.standby(named).await.unwrap().is_some_and(|until| until > stood_by) {
                return;
            }
        }
    };
    timeout(Duration::from_secs(120), renewed).await.expect("the standby's renewal");

    let admin = standby.admin.clone();
    let succeed = async |log: Option<&str>| {
        let words = ["provider", "succeed", "--admin", &admin, "--json"];
        let words: Vec<_> = words.into_iter().chain(log.into_iter().flat_map(|log| ["--log", log])).collect();
        world.crust("//Provider3", &words).await
    };
    let refused = succeed(None).await;
    assert!(refused.stderr.contains("still runs"), "{refused:?}");

    let last = world.next_report(number).await;
    node.kill();
    drop(enclave);
    fs::remove_dir_all(&dir).unwrap();

    let refused = succeed(old_log.to_str()).await;
    assert!(refused.stderr.contains("last statement on the chain"), "{refused:?}");
    assert_eq!(world.node(number).await.sign_pk, first.sign_pk, "nothing has happened");
    let nowhere = world.path("nowhere.log");
    let refused = succeed(nowhere.to_str()).await;
    assert!(refused.stderr.contains("there is no file"), "{refused:?}");
    assert!(!nowhere.exists());

    standby.kill();
    standby.run_daemon().unwrap();
    standby.ready().await.unwrap();
    // One of the copies is none any more.
    fs::rename(disks[0].join("enclave.log"), disks[1].join("enclave.log")).unwrap();
    fs::write(disks[0].join("enclave.log"), "a hole in the disk").unwrap();
    let done = succeed(None).await.json().unwrap();
    assert_eq!((done["node"].as_u64(), done["key"].as_str()), (Some(number.into()), Some(key.as_str())), "{done}");
    let back = world.next_report(number).await;
    assert!(back - last <= world.chain.parameters().max_silent, "silent from {last} to {back}");
    let after = world.node(number).await;
    assert_ne!(after.platform, first.platform);
    let report = after.last_report.unwrap();
    assert_eq!((report.good_files, report.stored_bytes), (255, put.size));
    assert_eq!(sealed(&disks), bytes, "not a byte was sealed again");
    let view = world.chain.view(Finality::Best).await.unwrap();
    assert_eq!(view.all_node_orders(number).await.unwrap().len(), 1);
    assert!(world.is_served(&put, &payload).await);
    // It is a node like any other now, and no standby.
    let again = standby.admin("/v1/status").await.unwrap();
    assert_eq!(again["node"], json!(number));
}

/// A platform without sealing keys, such as a TDX guest, forgets the node's key with every stop of the enclave. The
/// standby gives it back, and the node goes on with its own log under its own name. Nor does such a platform bring the
/// vendor's collateral: the node gets it from a service for its registration, and what the chain has of it from then on
/// is enough for the hand-over. When the node is dead, a standby that comes up on a platform which cannot open its log
/// leaves that as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_sealing_keys_gets_its_key_back_from_its_standby() {
    let world = World::start().await;
    let (dir, spare) = (world.path("node"), world.path("spare"));
    let disks = [(world.path("disk"), "64MiB")];
    let mut node =
        StorageNode::prepare(&dir, &world.url, ("//Provider3", "100"), &disks, &world.configuration()).unwrap();
    let enclave = KeptEnclave::start(&node.socket(), &dir.join("platform"), &["--no-sealing-key"]).unwrap();
    let config = dir.join("storage.toml");
    let text = fs::read_to_string(&config).unwrap();
    node.run_daemon().unwrap();
    says("name a service of the vendor's documents as `pccs`", async || node.error_of("register").await).await;
    node.kill();

    let pccs = Pccs::endless().await.unwrap();
    fs::write(&config, format!("pccs = \"{}\"\n{text}", pccs.url)).unwrap();
    node.run_daemon().unwrap();
    says("more than 262144 bytes", async || node.error_of("register").await).await;
    node.kill();

    let pccs = Pccs::start().await.unwrap();
    let text = format!("pccs = \"{}\"\n{text}", pccs.url);
    fs::write(&config, &text).unwrap();
    node.run_daemon().unwrap();
    node.ready().await.unwrap();
    assert_eq!(pccs.asked(), 4);
    let number = u32::try_from(node.admin("/v1/status").await.unwrap()["node"].as_u64().unwrap()).unwrap();

    let more = format!("{}standby = {{ node = {number}, admin = \"{}\" }}\n", world.configuration(), node.admin);
    let mut standby = StorageNode::prepare(&spare, &world.url, ("//Provider3", "100"), &disks, &more).unwrap();
    let standbys = KeptEnclave::start(&standby.socket(), &spare.join("platform"), &[]).unwrap();
    standby.run_daemon().unwrap();
    standby.ready().await.unwrap();

    // The operator tells the node of its standby. Of the service nothing good comes from now on: what the chain has is
    // enough.
    let useless = Pccs::of_another_family().await.unwrap();
    let text = text.replace(&pccs.url, &useless.url);
    drop(pccs);
    fs::write(&config, format!("key_from = {{ admin = \"{}\" }}\n{text}", standby.admin)).unwrap();
    node.kill();
    node.run_daemon().unwrap();
    node.ready().await.unwrap();
    let payload = file(&world, "file", 61, MIB);
    let put = world.put(&payload).await;
    let before = world.next_report(number).await;
    let key = world.node(number).await.sign_pk;

    enclave.kill().unwrap();
    let after = world.next_report(number).await.max(world.next_report(number).await);
    assert_eq!(world.slots_without_report(number, before, after).await, Vec::<u32>::new());
    assert_eq!(world.node(number).await.sign_pk, key);
    assert!(world.is_served(&put, &payload).await);
    assert!(node.log().contains("the enclave has its key back"));

    let heir = standby.admin("/v1/standby").await.unwrap()["heir"].clone();
    for dying in [&mut node, &mut standby] {
        dying.kill();
    }
    drop((enclave, standbys));
    let log = spare.join("state/heir.log");
    let begun = fs::read(&log).unwrap();
    let other = KeptEnclave::start(&standby.socket(), &spare.join("other"), &[]).unwrap();
    standby.run_daemon().unwrap();
    let error = async || anyhow::Ok(standby.admin("/v1/standby").await?["error"].as_str().map(str::to_owned));
    says("the node's daemon at", error).await;
    assert!(fs::read(&log).unwrap() == begun, "nobody could follow any more");
    standby.kill();
    drop(other);
    let _standbys = KeptEnclave::start(&standby.socket(), &spare.join("platform"), &[]).unwrap();
    standby.run_daemon().unwrap();
    standby.ready().await.unwrap();
    assert_eq!(standby.admin("/v1/standby").await.unwrap()["heir"], heir);
}

/// Asks until the answer has these words in it.
async fn says(words: &str, ask: impl AsyncFn() -> anyhow::Result<Option<String>>) {
    let asking = async {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tick.tick().await;
            if ask().await.ok().flatten().is_some_and(|answer| answer.contains(words)) {
                return;
            }
        }
    };
    assert!(timeout(Duration::from_secs(60), asking).await.is_ok(), "nobody says {words}");
}
