//! Which chain: the presets `dev` and `local` of the runtime, or a file.

use crust_runtime::{WASM_BINARY, presets};
use sc_chain_spec::{ChainSpec as _, ChainSpecExtension, ChainType, Properties};
use serde::{Deserialize, Serialize};
use sp_core::storage::well_known_keys;
use sp_runtime::BuildStorage;

/// What a specification may hold besides the usual.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ChainSpecExtension)]
#[serde(rename_all = "camelCase")]
pub struct Extensions {
    /// Blocks that are taken as they are.
    pub fork_blocks: sc_client_api::ForkBlocks<crust_runtime::opaque::Block>,
    /// Blocks that are refused whatever they hold.
    pub bad_blocks: sc_client_api::BadBlocks<crust_runtime::opaque::Block>,
    /// Where a light client starts.
    pub light_sync_state: sc_sync_state_rpc::LightSyncStateExtension,
}

/// Building a genesis runs the runtime, so it needs the runtime's host functions.
pub type ChainSpec = sc_chain_spec::GenericChainSpec<Extensions, crust_evidence::HostFunctions>;

/// A chain by the value of `--chain`, as a specification to read.
pub fn load(id: &str) -> Result<ChainSpec, String> {
    match id {
        presets::DEV => preset(presets::DEV, "Crust Development", ChainType::Development),
        presets::LOCAL => preset(presets::LOCAL, "Crust Local", ChainType::Local),
        "" => Err("no chain named: use --chain dev, --chain local or --chain FILE".into()),
        path => ChainSpec::from_json_file(path.into()),
    }
}

/// The same chain to run: the genesis state of a preset is built natively, which saves the time of compiling the wasm
/// once more. A test holds both ways equal.
pub fn load_to_run(id: &str) -> Result<ChainSpec, String> {
    let mut specification = load(id)?;
    if let Some(genesis) = presets::genesis(id) {
        let mut storage = genesis.config().build_storage()?;
        storage.top.insert(well_known_keys::CODE.to_vec(), wasm()?.to_vec());
        specification.set_storage(storage);
    }
    Ok(specification)
}

fn preset(name: &str, title: &str, kind: ChainType) -> Result<ChainSpec, String> {
    Ok(ChainSpec::builder(wasm()?, Extensions::default())
        .with_name(title)
        .with_id(&format!("crust-{name}"))
        .with_protocol_id(&format!("crust-{name}"))
        .with_chain_type(kind)
        .with_genesis_config_preset_name(name)
        .with_properties(properties())
        .build())
}

fn wasm() -> Result<&'static [u8], String> {
    WASM_BINARY.ok_or("this program was built without the runtime's wasm: build without SKIP_WASM_BUILD".into())
}

/// What wallets show.
fn properties() -> Properties {
    [("tokenSymbol", "CRU".into()), ("tokenDecimals", 12.into()), ("ss58Format", 42.into())]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
