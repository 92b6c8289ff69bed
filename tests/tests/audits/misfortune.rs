//! What may befall an honest node that is drawn in every slot: it answers late, and pays nothing for it.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use crust_client::{
    chain::{Call, Chain, Collateral, Event, Finality},
    wallet::Wallet,
};
use crust_enclave_dev::{
    collateral::{CollateralOptions, make},
    platform::SoftwarePlatform,
};
use crust_protocol::{Balance, BlockNumber, NodeId, Slot, parameters::Parameters};
use crust_tests::{
    KeptEnclave, Network, Options, Pccs, StorageNode, kill, runs, set_audit_rate, set_parameters, signal,
    slots_without_report,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::{MIB, events, next_report, number_of, order_id, view_at};

/// Longer than a slot.
const STILL: Duration = Duration::from_secs(13);
/// Blocks that a registration lasts, where it is to end within a test.
const PERIOD: BlockNumber = 24;
/// Seconds for which the vendor's documents are good that run out within a test.
const GOOD_FOR: u64 = 10;

/// Killed over the slot that draws it, on a chain that stands still, with its disk mounted late and behind a chain node
/// that was killed and forgets its last blocks: a node answers what it missed, and neither it nor its neighbour, whose
/// power makes every slot count, loses a planck of collateral.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misfortune_under_a_due_draw_costs_nothing() {
    let mut network = Network::with(Options { nodes: 1, capacity: "320MiB".into() }).await.unwrap();
    let mut node =
        StorageNode::start(&network.dir().join("unlucky"), &network.endpoints.chain, "//Provider9", &["64MiB"])
            .unwrap();
    node.ready().await.unwrap();
    let (unlucky, neighbour) = (number_of(&node).await, network.endpoints.nodes[0].id);
    let file = network.file(81, 2 * MIB).unwrap();
    let put = network.put(&file, &["--replicas", "2", "--term", "2h", "--wait"]).await.unwrap();
    let chain = network.chain().await.unwrap();
    set_audit_rate(&network, 1).await.unwrap();
    let first = chain.best().await.unwrap().number;
    let before = collateral(&network, [unlucky, neighbour]).await;
    let rate = chain.parameters().rate(put.size);
    let reserved = rate * u128::from(chain.parameters().collateral_slots);
    assert!(before.iter().all(|it| (it.reserved, it.taken) == (reserved, 0) && it.deposited > reserved), "{before:?}");

    // Both are drawn before they report, and both answer.
    network
        .until("both are drawn", 30, |view| async move {
            let draws = view.due_draws(0, 10).await?;
            Ok([unlucky, neighbour].iter().all(|node| draws.iter().any(|(drawn, _)| drawn == node)).then_some(()))
        })
        .await
        .unwrap();
    for node in [unlucky, neighbour] {
        answered(&network, node).await;
    }

    // Killed over a slot that draws it: the draw stays due, whatever is drawn later, and is answered on the return.
    next_report(&network, unlucky).await;
    node.kill();
    let slot = chain.view(Finality::Best).await.unwrap().slot();
    let missed = network.until("a slot is missed", 40, |view| async move {
        let due = view.audit(unlucky).await?.unwrap().due;
        Ok(due.filter(|_| view.slot() > slot + 1))
    });
    let missed = missed.await.unwrap();
    let due = chain.view(Finality::Best).await.unwrap().audit(unlucky).await.unwrap().unwrap().due;
    assert_eq!(due, Some(missed));
    node.run().unwrap();
    answered(&network, unlucky).await;

    // The chain stands still for longer than a slot.
    next_report(&network, unlucky).await;
    let validator = Pid::from_raw(i32::try_from(network.endpoints.validators[0].pid).unwrap()).unwrap();
    kill_process(validator, Signal::STOP).unwrap();
    tokio::time::sleep(STILL).await;
    kill_process(validator, Signal::CONT).unwrap();
    answered(&network, unlucky).await;

    // Its disk is mounted late: there is an empty directory in its place. What is drawn cannot be shown, nothing is given
    // up, and the operator is told what to do.
    next_report(&network, unlucky).await;
    node.kill();
    let (disk, away) = (node.dir.join("disk-0"), node.dir.join("away"));
    fs::rename(&disk, &away).unwrap();
    fs::create_dir(&disk).unwrap();
    node.run().unwrap();
    network
        .until("the node says what it misses", 40, |_| async {
            // It is on its way up.
            let Ok(error) = node.error_of("report").await else { return Ok(None) };
            Ok(error.filter(|error| error.contains("mount its disk")))
        })
        .await
        .unwrap();
    fs::remove_dir(&disk).unwrap();
    fs::rename(&away, &disk).unwrap();
    answered(&network, unlucky).await;

    // The chain node is killed and comes back without its last blocks.
    next_report(&network, unlucky).await;
    let pid = network.endpoints.validators[0].pid;
    kill(pid).unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    while runs(pid) || network.refresh().unwrap().validators[0].pid == pid {
        tick.tick().await;
    }
    for node in [unlucky, neighbour] {
        answered(&network, node).await;
    }

    assert_eq!(collateral(&network, [unlucky, neighbour]).await, before, "not a planck is missing");
    costs_nothing(&network.chain().await.unwrap(), first).await;
    assert!(network.get(&put.cid).await.unwrap() == fs::read(&file).unwrap());
}

/// The vendor is late: what it published last has run out, the chain has nothing newer, and so a node whose registration
/// ends cannot renew it. It goes on as if nothing were: it reports in every slot, answers what is drawn, is paid to the
/// planck, takes what is new and serves it by itself. As soon as there are newer documents it brings them, and renews.
///
/// The coin, if registrations ended meanwhile: a machine's slot, 0.4 tokens, in every slot until the vendor publishes; and
/// while machines of other families make the slots count, after MAX_SILENT of them the reserve of all that it holds, 0.336
/// tokens a TiB, and a seventh more for its due draw.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misfortune_of_a_vendor_that_is_late_costs_nothing() {
    let network = Network::with(Options { nodes: 1, capacity: "320MiB".into() }).await.unwrap();
    // The neighbour, who makes every slot count, is registered for long.
    let neighbour = &network.endpoints.nodes[0];
    let short = |it| Parameters { audit_rate: 1, attestation_period: PERIOD, ..it };
    set_parameters(&network, short).await.unwrap();
    let chain = network.chain().await.unwrap();
    let pccs = Pccs::start().await.unwrap();
    let dir = network.dir().join("unlucky");
    let more = format!("pccs = \"{}\"\nclaim_every = 1000\n", pccs.url);
    let disks = [(dir.join("disk"), "64MiB")];
    let mut node = StorageNode::prepare(&dir, &network.endpoints.chain, ("//Provider9", "100"), &disks, &more).unwrap();
    // As under Gramine, the platform brings no collateral.
    let _enclave = KeptEnclave::start(&node.socket(), &dir.join("platform"), &["--no-collateral"]).unwrap();
    node.run_daemon().unwrap();
    node.ready().await.unwrap();
    let unlucky = number_of(&node).await;

    // The vendor's next documents are soon past; somebody brings them to the chain.
    let of_today = Pccs::of_today().unwrap();
    let soon = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + GOOD_FOR;
    let next = CollateralOptions { issued: of_today.issued + 1, next_update: soon, ..of_today.clone() };
    pccs.publish(&next).unwrap();
    let quote = SoftwarePlatform::from_seed([9; 32]).unwrap().quote(&[0; 64]);
    let anybody = Wallet::development("//Client", &chain).unwrap();
    let submit = Call::SubmitCollateral { collateral: Box::new(make(&next).unwrap()), quote: quote.clone() };
    chain.submit(submit, &anybody).await.unwrap();

    let terms = ["--replicas", "2", "--term", "2h", "--wait"];
    let file = network.file(82, 2 * MIB).unwrap();
    let put = network.put(&file, &terms).await.unwrap();
    let first = chain.best().await.unwrap().number;
    let before = collateral(&network, [unlucky, neighbour.id]).await;
    let begin = next_report(&network, unlucky).await;

    // The documents run out, then the registration.
    let late = network.until("the registration ends", 90, |view| {
        let quote = quote.clone();
        async move {
            let record = view.node(unlucky).await?.unwrap();
            let late = !view.collateral_current(quote).await? && view.block().number > record.registered_until;
            Ok(late.then_some(record))
        }
    });
    let late = late.await.unwrap();
    assert!(late.registered, "{late:?}");
    assert_eq!(late.leaves, Some(late.registered_until + chain.parameters().revocation_delay));
    let why = node.error_of("register").await.unwrap().unwrap_or_default();
    assert!(why.contains("the vendor's documents are out of date since"), "{why}");

    // It takes what is new, and alone serves all that it has.
    let other = network.file(83, MIB).unwrap();
    let taken = network.put(&other, &terms).await.unwrap();
    assert!(taken.replicas.iter().any(|it| it.node == unlucky && it.sealed_at > late.registered_until), "{taken:?}");
    signal(neighbour.pid, Signal::STOP).unwrap();
    for (cid, file) in [(&put.cid, &file), (&taken.cid, &other)] {
        assert!(network.get(cid).await.unwrap() == fs::read(file).unwrap());
    }
    signal(neighbour.pid, Signal::CONT).unwrap();
    let ended = chain.parameters().slot_of(late.registered_until);
    let goes_on = network.until("it reports in a slot that began later", 40, |view| async move {
        let record = view.node(unlucky).await?.unwrap();
        Ok((record.last_report.unwrap().slot > ended).then_some(record))
    });
    let goes_on = goes_on.await.unwrap();
    assert_eq!((goes_on.registered, goes_on.registered_until), (true, late.registered_until));

    pccs.publish(&CollateralOptions { issued: of_today.issued + 2, ..of_today }).unwrap();
    let renewed = network.until("the node renews", 60, |view| async move {
        let record = view.node(unlucky).await?.unwrap();
        Ok((record.registered_until > late.registered_until).then_some(record))
    });
    let renewed = renewed.await.unwrap();
    assert_eq!((renewed.registered, renewed.leaves), (true, None));
    let end = next_report(&network, unlucky).await;

    assert_eq!(slots_without_report(&chain, unlucky, begin, end).await.unwrap(), Vec::<Slot>::new());
    let report = chain.view(Finality::Best).await.unwrap().node(unlucky).await.unwrap().unwrap().last_report.unwrap();
    assert_eq!((report.good_files, report.stored_bytes), (255, put.size + taken.size));
    // What `slots` reports have earned.
    let pay = |slots: Slot| {
        let parts = chain.parameters().rate(put.size) * Balance::from(slots);
        parts - parts * 15 / 100 - parts * 5 / 100
    };
    let mut paid = Vec::new();
    for slot in [begin, end] {
        let last = (chain.parameters().first_block(slot + 1) - 1).min(chain.best().await.unwrap().number);
        paid.push(view_at(&chain, last).await.claimable(order_id(&put.order), unlucky).await.unwrap());
    }
    let slots = (0..=begin).find(|slots| pay(*slots) == paid[0]).unwrap();
    assert_eq!(paid[1], pay(slots + end - begin), "{slots} slots until {begin}, and all until {end}");
    let after = collateral(&network, [unlucky, neighbour.id]).await;
    assert_eq!(after.iter().map(|it| it.deposited).collect::<Vec<_>>(), before.map(|it| it.deposited));
    costs_nothing(&chain, first).await;
}

/// Nothing that costs a node anything has happened from a block on.
async fn costs_nothing(chain: &Chain, first: BlockNumber) {
    let last = chain.best().await.unwrap().number;
    for (block, event) in events(chain, first, last).await {
        let costs = matches!(
            event,
            Event::Slashed { .. } | Event::DrawFailed { .. } | Event::NodeSilent { .. } | Event::ReplicaEnded { .. }
        );
        assert!(!costs, "in block {block}: {event:?}");
    }
}

/// Waits until a report of the node has answered a draw, from the next block on.
async fn answered(network: &Network, node: NodeId) {
    let wait = network.until("a draw is answered", 60, |view| async move {
        let events = view.events().await?;
        let answer = |event: &Event| matches!(event, Event::DrawAnswered { node: by, .. } if *by == node);
        Ok(events.iter().any(answer).then_some(()))
    });
    wait.await.unwrap();
}

async fn collateral(network: &Network, nodes: [NodeId; 2]) -> [Collateral; 2] {
    let view = network.chain().await.unwrap().view(Finality::Best).await.unwrap();
    [view.collateral(nodes[0]).await.unwrap(), view.collateral(nodes[1]).await.unwrap()]
}
