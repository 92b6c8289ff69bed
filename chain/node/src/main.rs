//! `crust-node`: a node of the chain. It executes blocks, takes part in consensus and answers RPC; what the chain means
//! is in the runtime, of which it knows interfaces only.
//!
//! [`cli`] flags and subcommands · [`command`] what each does · [`chain_spec`] which chain · [`service`] how the parts
//! of a running node hang together · [`rpc`] what it answers.

#![allow(clippy::result_large_err, reason = "the SDK's own error type, passed on as it comes")]

mod chain_spec;
mod cli;
mod command;
mod rpc;
mod service;

fn main() -> sc_cli::Result<()> {
    command::run()
}
