//! From one release to the next on one machine.

use std::{path::PathBuf, time::Duration};

use crust_client::chain::Finality;
use crust_enclave::release::SignedRelease;
use crust_enclave_dev::release;
use crust_protocol::NodeId;
use crust_tests::{KeptEnclave, StorageNode};
use serde_json::json;

use crate::{MIB, NEXT, UNAPPROVED, World, file, sealed};

/// A node that is to be upgraded.
struct First {
    node: StorageNode,
    enclave: KeptEnclave,
    platform: PathBuf,
    disk: PathBuf,
    number: NodeId,
}

impl First {
    async fn start(world: &World) -> First {
        let dir = world.path("node");
        let (platform, disk) = (dir.join("platform"), dir.join("disk"));
        let disks = [(disk.clone(), "64MiB")];
        let mut node =
            StorageNode::prepare(&dir, &world.url, ("//Provider3", "100"), &disks, &world.configuration()).unwrap();
        let enclave = KeptEnclave::start(&node.socket(), &platform, &[]).unwrap();
        node.run_daemon().unwrap();
        node.ready().await.unwrap();
        let number = u32::try_from(node.admin("/v1/status").await.unwrap()["node"].as_u64().unwrap()).unwrap();
        First { node, enclave, platform, disk, number }
    }
}

/// While it holds a file and reports in every slot a node goes over to the next release: its number stays, no slot is
/// without a report, no sealed byte changes, and the file is served as before. A release that nobody signed, one that
/// the chain does not approve and one that is older do not get that far, and the node goes on as if nothing had been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_loses_no_slot_and_seals_nothing_again() {
    let world = World::start().await;
    let dir = world.path("node");
    let First { node, enclave: first, platform, disk, number } = First::start(&world).await;
    let provider = |words: &[&str]| {
        let words: Vec<_> = [&["provider"], words, &["--admin", &node.admin, "--json"]].concat();
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let world = &world;
        async move {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            world.crust("//Provider3", &words).await
        }
    };
    assert_eq!(provider(&["register"]).await.json().unwrap()["node"], json!(number));
    let payload = file(&world, "file", 31, 8 * MIB);
    let put = world.put(&payload).await;
    let begin = world.next_report(number).await;
    let bytes = sealed([&disk]);
    assert!(bytes.len() >= 2, "a sealed file and its hash tree: {bytes:?}");
    let before = world.node(number).await;

    // Whoever must not follow: each on a socket of its own, on the same machine.
    let unsigned = release::signed(3).unwrap();
    world.publish(&SignedRelease { signatures: Vec::new().try_into().unwrap(), ..unsigned });
    for (release, reason) in [(3, "not signed by enough"), (UNAPPROVED, "MeasurementNotApproved")] {
        let socket = dir.join(format!("enclave-{release}.sock"));
        let _refused = KeptEnclave::start(&socket, &platform, &["--release", &release.to_string()]).unwrap();
        let refused = provider(&["upgrade", socket.to_str().unwrap()]).await;
        assert_eq!(refused.status, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(reason), "release {release}: {refused:?}");
    }
    assert_eq!(world.node(number).await.heir, None);

    let socket = dir.join("enclave-2.sock");
    let _next = KeptEnclave::start(&socket, &platform, &["--release", &NEXT.to_string()]).unwrap();
    // From `succeed` on nobody can give it up.
    let give_up = async {
        world.until("`succeed`", number, 90, |node| (node.sign_pk != before.sign_pk).then_some(())).await;
        let request = reqwest::Client::new().post(format!("{}/v1/upgrade", node.admin));
        assert_eq!(request.json(&json!({ "enclave": null })).send().await.unwrap().status(), 409);
    };
    let (done, ()) = tokio::join!(provider(&["upgrade", socket.to_str().unwrap()]), give_up);
    let done = done.json().unwrap();
    assert_eq!((done["node"].as_u64(), done["release"].as_u64()), (Some(number.into()), Some(NEXT.into())), "{done}");
    // What was before is not needed any more.
    drop(first);
    let after = world.node(number).await;
    assert_eq!(done["key"].as_str().unwrap(), format!("0x{}", hex::encode(after.sign_pk)));
    assert_ne!(after.sign_pk, before.sign_pk);
    assert_eq!((after.platform, after.peer_id), (before.platform, before.peer_id), "the same machine and daemon");

    let end = world.next_report(number).await;
    let end = end.max(world.next_report(number).await);
    assert_eq!(world.slots_without_report(number, begin, end).await, Vec::<u32>::new());
    let report = world.node(number).await.last_report.unwrap();
    assert_eq!((report.good_files, report.good_filler, report.stored_bytes), (255, 255, put.size));
    assert_eq!(sealed([&disk]), bytes, "not a byte was sealed again");
    assert!(world.is_served(&put, &payload).await);

    // There is no way back to the older release.
    let _older = KeptEnclave::start(&node.socket(), &platform, &[]).unwrap();
    let refused = provider(&["upgrade", node.socket().to_str().unwrap()]).await;
    assert!(refused.stderr.contains("the same or a later release only"), "{refused:?}");

    // Registered by its standing by, the next release renews like the first.
    let until = after.registered_until;
    world.until("a renewal", number, 60, |node| (node.registered_until > until).then_some(())).await;
    // What the client wanted is there as ever.
    let view = world.chain.view(Finality::Best).await.unwrap();
    assert_eq!(view.all_node_orders(number).await.unwrap().len(), 1);
}

/// Daemon and enclaves are killed again and again from the moment that the operator asks for an upgrade, each time a
/// little later, before the chain knows of the next release and after. The upgrade comes to its end all the same: one
/// enclave goes on, with the node's number and file, and not a byte is sealed again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_goes_on_after_every_kill() {
    let world = World::start().await;
    let First { mut node, enclave: first, platform, disk, number } = First::start(&world).await;
    let socket = world.path("node").join("enclave-2.sock");
    let next = KeptEnclave::start(&socket, &platform, &["--release", &NEXT.to_string()]).unwrap();
    let payload = file(&world, "file", 37, MIB);
    let put = world.put(&payload).await;
    world.next_report(number).await;
    let (before, bytes) = (world.node(number).await, sealed([&disk]));

    let body = json!({ "enclave": socket });
    let asked = reqwest::Client::new().post(format!("{}/v1/upgrade", node.admin)).json(&body).send().await.unwrap();
    assert_eq!(asked.status(), 202);
    let mut before_and_after = [0, 0];
    for round in 1..=12 {
        // How late the kill comes is what the rounds differ in.
        tokio::time::sleep(Duration::from_millis(400 * round)).await;
        node.kill();
        before_and_after[usize::from(world.node(number).await.sign_pk != before.sign_pk)] += 1;
        match round % 3 {
            1 => first.kill().unwrap(),
            2 => next.kill().unwrap(),
            _ => (),
        }
        node.run_daemon().unwrap();
    }
    assert!(before_and_after.iter().all(|kills| *kills >= 2), "{before_and_after:?} kills");
    let after = world.until("the next release goes on", number, 60, |node| {
        Some(node.clone()).filter(|node| node.sign_pk != before.sign_pk && node.last_report != before.last_report)
    });
    let after = after.await;
    assert_eq!(after.platform, before.platform);
    node.ready().await.unwrap();
    drop(first);
    world.next_report(number).await;
    let report = world.node(number).await.last_report.unwrap();
    assert_eq!((report.good_files, report.good_filler, report.stored_bytes), (255, 255, put.size));
    assert_eq!(sealed([&disk]), bytes, "not a byte was sealed again");
    assert!(world.is_served(&put, &payload).await);
}
