//! A chain that stands still and comes back: no slot of it is without a report, and nothing is said twice.

use std::time::Duration;

use crust_tests::{Network, Options, signal};
use rustix::process::Signal;

use crate::{MIB, blocks, next_report};

/// Longer than two slots, and than anybody's patience with a statement.
const STILL: Duration = Duration::from_secs(25);
/// Longer than two of BABE's epochs, as an hour is in production: nobody has drawn lots for the slots that are next.
const STILL_FOR_EPOCHS: Duration = Duration::from_secs(130);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_stands_still_costs_no_slot() {
    let network = Network::with(Options { nodes: 1, capacity: "128MiB".into() }).await.unwrap();
    let file = network.file(91, MIB).unwrap();
    network.put(&file, &["--replicas", "1", "--term", "2h", "--wait"]).await.unwrap();
    let node = network.endpoints.nodes[0].id;
    let mut last = next_report(&network, node).await.0;
    let chain = network.endpoints.validators[0].pid;
    for (after, still) in [(0, STILL), (3, STILL_FOR_EPOCHS)] {
        // Once just after a report, once some blocks later.
        blocks(&network, after).await;
        signal(chain, Signal::STOP).unwrap();
        tokio::time::sleep(still).await;
        signal(chain, Signal::CONT).unwrap();
        for _ in 0..2 {
            let report = network
                .until("the report of the next slot", 60, |view| async move {
                    let record = view.node(node).await?.unwrap();
                    Ok(record.last_report.filter(|report| report.slot > last.slot))
                })
                .await
                .unwrap();
            assert_eq!((report.slot, report.good_files), (last.slot + 1, 255), "a slot was skipped");
            last = report;
        }
    }
}
