//! `make demo` as a stranger sees it: it says what happens, stays up until Ctrl-C, and leaves nothing behind.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use crust_tests::{Endpoints, bin, runs, signal};
use rustix::process::Signal;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};

/// Two minutes is what it may take from built programs on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_stores_proves_pays_gives_back_and_stays_until_it_is_stopped() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_crust-demo"));
    demo.env("CRUST_BIN", bin()).env_remove("DEMO_ONCE").stdout(Stdio::piped()).kill_on_drop(true);
    let mut demo = demo.spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    let shown = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            said.push(line);
            if said.iter().filter(|line| line.ends_with("/v1/status")).count() == 2 {
                return;
            }
        }
        panic!("it ended early: {said:#?}");
    };
    timeout(PATIENCE, shown).await.unwrap();
    for step in ["== starting", "== storing", "== waiting", "== paying", "== fetching", "done in"] {
        assert!(said.iter().any(|line| line.starts_with(step)), "it does not say {step:?}: {said:#?}");
    }
    let dir = said.iter().find_map(|line| line.trim().strip_prefix("export CRUST_DEV=")).map(PathBuf::from).unwrap();
    let endpoints: Endpoints = serde_json::from_slice(&fs::read(dir.join("endpoints.json")).unwrap()).unwrap();
    assert!(endpoints.pids().all(runs) && said.iter().any(|line| line.ends_with(&endpoints.chain)), "{said:#?}");

    signal(demo.id().unwrap(), Signal::INT).unwrap();
    assert!(timeout(PATIENCE, demo.wait()).await.unwrap().unwrap().success());
    assert!(!endpoints.pids().any(runs) && !dir.exists(), "something is left behind");
}
