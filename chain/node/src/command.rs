//! What each subcommand does; without one, a node runs until it is told to stop.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener},
};

use crust_runtime::opaque::Block;
use sc_chain_spec::ChainType;
use sc_cli::{RunCmd, SubstrateCli};
use sc_network::{
    Litep2pNetworkBackend, NetworkWorker,
    config::{NetworkBackendType, TransportConfig},
    multiaddr::{Multiaddr, Protocol},
};
use sc_service::{Configuration, PartialComponents};

use crate::{
    chain_spec,
    cli::{Cli, Subcommand},
    service,
};

impl SubstrateCli for Cli {
    fn impl_name() -> String {
        "Crust Node".into()
    }

    fn impl_version() -> String {
        env!("SUBSTRATE_CLI_IMPL_VERSION").into()
    }

    fn description() -> String {
        "A node of the Crust chain: executes blocks, takes part in consensus, answers RPC.".into()
    }

    fn author() -> String {
        "the Crust authors".into()
    }

    fn support_url() -> String {
        "see SECURITY.md and CONTRIBUTING.md of the source".into()
    }

    fn copyright_start_year() -> i32 {
        2026
    }

    fn load_spec(&self, id: &str) -> Result<Box<dyn sc_service::ChainSpec>, String> {
        let specification = match self.subcommand {
            None => chain_spec::load_to_run(id)?,
            Some(_) => chain_spec::load(id)?,
        };
        Ok(Box::new(specification))
    }
}

/// Reads the command line and does what it says.
pub fn run() -> sc_cli::Result<()> {
    let cli = Cli::from_args();
    match &cli.subcommand {
        None => run_node(cli),
        Some(Subcommand::Key(command)) => command.run(&cli),
        Some(Subcommand::ExportChainSpec(command)) => command.run(cli.load_spec(&command.chain)?),
        Some(Subcommand::BuildSpec(command)) => {
            cli.create_runner(command)?.sync_run(|config| command.run(config.chain_spec, config.network))
        }
        Some(Subcommand::CheckBlock(command)) => cli.create_runner(command)?.async_run(|config| {
            let PartialComponents { client, task_manager, import_queue, .. } = service::new_partial(&config)?;
            Ok((command.run(client, import_queue), task_manager))
        }),
        Some(Subcommand::ExportBlocks(command)) => cli.create_runner(command)?.async_run(|config| {
            let PartialComponents { client, task_manager, .. } = service::new_partial(&config)?;
            Ok((command.run(client, config.database), task_manager))
        }),
        Some(Subcommand::ExportState(command)) => cli.create_runner(command)?.async_run(|config| {
            let PartialComponents { client, task_manager, .. } = service::new_partial(&config)?;
            Ok((command.run(client, config.chain_spec), task_manager))
        }),
        Some(Subcommand::ImportBlocks(command)) => cli.create_runner(command)?.async_run(|config| {
            let PartialComponents { client, task_manager, import_queue, .. } = service::new_partial(&config)?;
            Ok((command.run(client, import_queue), task_manager))
        }),
        Some(Subcommand::ChainInfo(command)) => {
            cli.create_runner(command)?.sync_run(|config| command.run::<Block>(&config))
        }
        Some(Subcommand::PurgeChain(command)) => {
            cli.create_runner(command)?.sync_run(|config| command.run(config.database))
        }
        Some(Subcommand::Revert(command)) => cli.create_runner(command)?.async_run(|config| {
            let PartialComponents { client, task_manager, backend, .. } = service::new_partial(&config)?;
            let consensus = Box::new(|client: std::sync::Arc<service::Client>, backend, blocks| {
                sc_consensus_babe::revert(client.clone(), backend, blocks)?;
                sc_consensus_grandpa::revert(client, blocks)?;
                Ok(())
            });
            Ok((command.run(client, backend, Some(consensus)), task_manager))
        }),
    }
}

fn run_node(cli: Cli) -> sc_cli::Result<()> {
    let mut command = cli.run.clone();
    let chain = cli.load_spec(&command.shared_params.chain_id(command.shared_params.is_dev()))?;
    let well_known_keys = matches!(chain.chain_type(), ChainType::Development | ChainType::Local);
    if well_known_keys {
        // An authority's name in the network matters where others rely on it: there it is given, not made up.
        command.network_params.node_key_params.unsafe_force_node_key_generation = true;
    }
    cli.create_runner(&command)?.run_node_until_exit(|mut config| async move {
        if well_known_keys {
            keep_to_this_machine(&command, &mut config);
        }
        insist_on_ports(&mut config)?;
        match config.network.network_backend {
            NetworkBackendType::Libp2p => service::new_full::<NetworkWorker<_, _>>(config),
            NetworkBackendType::Litep2p => service::new_full::<Litep2pNetworkBackend>(config),
        }
        .map_err(sc_cli::Error::Service)
    })
}

/// Whoever starts a node knows where to find it: a port in use is an error, not a reason to listen on some other or on
/// none.
fn insist_on_ports(config: &mut Configuration) -> sc_cli::Result<()> {
    for endpoint in config.rpc.addr.iter_mut().flatten() {
        endpoint.retry_random_port = false;
        if !endpoint.is_optional {
            free(endpoint.listen_addr, "RPC", "--rpc-port")?;
        }
    }
    if let Some(prometheus) = &config.prometheus_config {
        free(prometheus.port, "Prometheus", "--prometheus-port or --no-prometheus")?;
    }
    for address in config.network.listen_addresses.iter().filter_map(socket) {
        free(address, "peers", "--port")?;
    }
    Ok(())
}

/// Whether nobody listens on an address; if somebody does, how to choose another. That a machine lacks a kind of
/// address is not for this to judge: the defaults name IPv6 too.
fn free(address: SocketAddr, whom: &str, flag: &str) -> sc_cli::Result<()> {
    match TcpListener::bind(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Err(format!("cannot listen for {whom} on {address}: {error}; choose a port with {flag}").into())
        }
        _ => Ok(()),
    }
}

/// Where a multiaddress is reached over TCP on this machine.
fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}

/// A chain whose keys everybody knows listens on the loopback interface unless it is told otherwise, and looks for
/// nobody by itself.
fn keep_to_this_machine(command: &RunCmd, config: &mut Configuration) {
    if command.network_params.listen_addr.is_empty() {
        for address in &mut config.network.listen_addresses {
            *address = loopback(address);
        }
    }
    if let TransportConfig::Normal { enable_mdns, .. } = &mut config.network.transport {
        *enable_mdns = command.network_params.discover_local && !command.network_params.no_mdns;
    }
}

/// The same address on the loopback interface.
fn loopback(address: &Multiaddr) -> Multiaddr {
    address
        .iter()
        .map(|part| match part {
            Protocol::Ip4(_) => Protocol::Ip4(std::net::Ipv4Addr::LOCALHOST),
            Protocol::Ip6(_) => Protocol::Ip6(std::net::Ipv6Addr::LOCALHOST),
            other => other,
        })
        .collect()
}
