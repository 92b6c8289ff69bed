//! `crust dev`: a whole network on one machine, made of the real programs as child processes.
//!
//! Started by a developer, by `make demo` and by the tests. It lays out a directory ([`layout`]), starts chain, enclaves
//! and storage nodes ([`child`]), waits until everything answers ([`endpoints`]), writes `endpoints.json` and then
//! supervises: a child that dies is started again on its ports and folders, and all of them end with this process.
//! Everything on it is for development: the accounts are published and the enclaves prove nothing.

mod child;
mod endpoints;
mod layout;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use crust_client::size;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use self::{
    child::{Child, Program},
    layout::Layout,
};
use crate::output;

/// A child that dies sooner than this after its start waits before the next one.
const QUICK_DEATH: Duration = Duration::from_secs(2);
/// That pause: a dead child is back within a second.
const PAUSE: Duration = Duration::from_millis(500);
/// So many quick deaths on end before the network was ever ready mean that it cannot start.
const HOPELESS: u32 = 6;
/// Time for a child to end by itself when asked to.
const GRACE: Duration = Duration::from_secs(15);

/// Runs a whole network on this machine, for development
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust dev --dir /tmp/network\n  CRUST_DEV=/tmp/network crust put photo.jpg --wait")]
pub struct Args {
    /// Directory with all state of the network; started again on it, the network goes on where it was
    #[arg(long, value_name = "DIR", required_unless_present = "child")]
    dir: Option<PathBuf>,
    /// Storage nodes, each with an enclave and a provider account of its own
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=16))]
    nodes: u16,
    /// Chain nodes that make blocks; the development chain has one authority
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1))]
    validators: u16,
    /// First of the ports to use (default: free ones); kept in DIR from then on
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// What each storage node may write to its disk
    #[arg(long, default_value = "2GiB", value_name = "BYTES", value_parser = size::parse)]
    capacity: u64,
    /// Print the endpoints as one line of JSON before `ready`
    #[arg(long)]
    json: bool,
    /// How this program starts a child: parent's process id, program, arguments
    #[arg(last = true, hide = true)]
    child: Vec<OsString>,
}

/// Runs until SIGINT or SIGTERM.
pub async fn run(args: Args) -> anyhow::Result<()> {
    if !args.child.is_empty() {
        return Err(child::become_program(&args.child));
    }
    let dir = args.dir.context("say where: --dir DIR")?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut layout = Layout::prepare(&dir, args.validators, args.nodes, args.base_port, args.capacity)?;
    let _lock = layout.lock()?;
    layout.write()?;
    let (sender, events) = mpsc::unbounded_channel();
    let mut network = Network { children: layout.programs()?.into_iter().map(Slot::new).collect(), sender, events };
    let outcome = tokio::select! {
        outcome = network.supervise(&layout, args.json) => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    network.stop().await;
    outcome
}

/// All children, in the order of their start.
struct Network {
    children: Vec<Slot>,
    sender: mpsc::UnboundedSender<Event>,
    events: mpsc::UnboundedReceiver<Event>,
}

struct Slot {
    program: Program,
    /// Process id, while it runs.
    pid: Option<u32>,
    started: Instant,
    quick_deaths: u32,
}

enum Event {
    Ended { child: usize, how: String },
    Due { child: usize },
}

impl Slot {
    fn new(program: Program) -> Self {
        Slot { program, pid: None, started: Instant::now(), quick_deaths: 0 }
    }
}

impl Network {
    /// Starts everything, says when it is ready, and goes on for ever.
    async fn supervise(&mut self, layout: &Layout, json: bool) -> anyhow::Result<()> {
        for child in 0..self.children.len() {
            self.start(child)?;
        }
        let mut known = None;
        let ready = endpoints::wait(layout);
        tokio::pin!(ready);
        loop {
            let event = tokio::select! {
                found = &mut ready, if known.is_none() => {
                    let mut endpoints = found?;
                    endpoints.set_pids(&self.pids());
                    endpoints.write(layout)?;
                    // The network runs on when whoever started it reads no more.
                    if json {
                        let _ = output::json(&endpoints);
                    }
                    let _ = output::line("ready");
                    known = Some(endpoints);
                    continue;
                }
                event = self.events.recv() => event.context("no child is left")?,
            };
            match event {
                Event::Ended { child, how } => self.ended(child, &how, known.is_some())?,
                Event::Due { child } => {
                    self.start(child)?;
                    if let Some(endpoints) = &mut known {
                        endpoints.set_pids(&self.pids());
                        endpoints.write(layout)?;
                    }
                }
            }
        }
    }

    fn start(&mut self, index: usize) -> anyhow::Result<()> {
        let Some(slot) = self.children.get_mut(index) else { return Ok(()) };
        let child = Child::start(&slot.program)?;
        slot.pid = child.pid();
        slot.started = Instant::now();
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let how = child.ended().await;
            // Nobody listens any more when the whole network has stopped.
            let _ = sender.send(Event::Ended { child: index, how });
        });
        Ok(())
    }

    /// Arranges for the next start of a child.
    fn ended(&mut self, index: usize, how: &str, was_ready: bool) -> anyhow::Result<()> {
        let Some(slot) = self.children.get_mut(index) else { return Ok(()) };
        slot.pid = None;
        let quick = slot.started.elapsed() < QUICK_DEATH;
        slot.quick_deaths = if quick { slot.quick_deaths.saturating_add(1) } else { 0 };
        if !was_ready && slot.quick_deaths >= HOPELESS {
            bail!("{} does not start ({how}); its log {} ends:\n{}", slot.program.name, slot.program.log.display(), {
                child::tail(&slot.program.log)
            });
        }
        output::note(format_args!("{} ended ({how}); starting it again", slot.program.name));
        let sender = self.sender.clone();
        tokio::spawn(async move {
            if quick {
                sleep(PAUSE).await;
            }
            let _ = sender.send(Event::Due { child: index });
        });
        Ok(())
    }

    /// Asks all children to end, those first that need the others, and kills what does not.
    async fn stop(&mut self) {
        for kind in [child::Kind::Storage, child::Kind::Enclave, child::Kind::Chain] {
            for pid in self.running(kind) {
                child::ask_to_end(pid);
            }
            let deadline = Instant::now() + GRACE;
            while !self.running(kind).is_empty() {
                match timeout(deadline.saturating_duration_since(Instant::now()), self.events.recv()).await {
                    Ok(Some(Event::Ended { child, .. })) => {
                        if let Some(slot) = self.children.get_mut(child) {
                            slot.pid = None;
                        }
                    }
                    Ok(Some(Event::Due { .. })) => {}
                    Ok(None) | Err(_) => break,
                }
            }
        }
        for slot in &self.children {
            if let Some(pid) = slot.pid {
                output::note(format_args!("{} does not end; killing it", slot.program.name));
                child::kill(pid);
            }
        }
    }

    fn running(&self, kind: child::Kind) -> Vec<u32> {
        self.children.iter().filter(|slot| slot.program.kind == kind).filter_map(|slot| slot.pid).collect()
    }

    /// Process ids by program name.
    fn pids(&self) -> Vec<(String, Option<u32>)> {
        self.children.iter().map(|slot| (slot.program.name.clone(), slot.pid)).collect()
    }
}
