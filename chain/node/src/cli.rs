//! Flags and subcommands.

use sc_cli::RunCmd;

/// The command line.
#[derive(Debug, clap::Parser)]
pub struct Cli {
    #[command(subcommand)]
    pub subcommand: Option<Subcommand>,

    #[clap(flatten)]
    pub run: RunCmd,
}

/// What the program does besides running a node.
#[derive(Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Make, show and insert keys.
    #[command(subcommand)]
    Key(sc_cli::KeySubcommand),

    /// Print the specification of a chain, with this machine as a boot node.
    BuildSpec(sc_cli::BuildSpecCmd),

    /// Print the specification of a chain.
    ExportChainSpec(sc_cli::ExportChainSpecCmd),

    /// Execute a block again.
    CheckBlock(sc_cli::CheckBlockCmd),

    /// Write blocks into a file.
    ExportBlocks(sc_cli::ExportBlocksCmd),

    /// Write the state at a block into a specification.
    ExportState(sc_cli::ExportStateCmd),

    /// Read blocks from a file.
    ImportBlocks(sc_cli::ImportBlocksCmd),

    /// Show what the database holds.
    ChainInfo(sc_cli::ChainInfoCmd),

    /// Delete the database of a chain.
    PurgeChain(sc_cli::PurgeChainCmd),

    /// Take back blocks.
    Revert(sc_cli::RevertCmd),
}
