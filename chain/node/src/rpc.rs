//! What the node answers besides the SDK's own methods (blocks, state, `chainHead`, `archive`, `transaction`):
//! nonces, fees, BABE's and GRANDPA's state, and the state from which a light client starts.

use std::sync::Arc;

use crust_runtime::{AccountId, BlockNumber, Hash, Nonce, opaque::Block};
use jsonrpsee::RpcModule;
use pallet_transaction_payment_rpc::{TransactionPayment, TransactionPaymentApiServer};
use sc_consensus_babe::BabeWorkerHandle;
use sc_consensus_babe_rpc::{Babe, BabeApiServer};
use sc_consensus_grandpa::{FinalityProofProvider, GrandpaJustificationStream, SharedAuthoritySet, SharedVoterState};
use sc_consensus_grandpa_rpc::{Grandpa, GrandpaApiServer};
use sc_rpc::SubscriptionTaskExecutor;
use sc_sync_state_rpc::{SyncState, SyncStateApiServer};
use sc_transaction_pool_api::TransactionPool;
use sp_keystore::KeystorePtr;
use substrate_frame_rpc_system::{System, SystemApiServer};

use crate::service::{Backend, Client, SelectChain};

/// What the methods need of the node.
pub struct Parts<P> {
    pub client: Arc<Client>,
    pub pool: Arc<P>,
    pub select_chain: SelectChain,
    pub chain_spec: Box<dyn sc_chain_spec::ChainSpec>,
    pub keystore: KeystorePtr,
    pub babe: BabeWorkerHandle<Block>,
    pub voter_state: SharedVoterState,
    pub authority_set: SharedAuthoritySet<Hash, BlockNumber>,
    pub justifications: GrandpaJustificationStream<Block>,
    pub finality_proofs: Arc<FinalityProofProvider<Backend, Block>>,
    pub subscriptions: SubscriptionTaskExecutor,
}

/// All methods as one module.
pub fn module<P>(parts: Parts<P>) -> Result<RpcModule<()>, Box<dyn std::error::Error + Send + Sync>>
where
    P: TransactionPool<Block = Block, Hash = Hash> + 'static,
{
    let Parts {
        client,
        pool,
        select_chain,
        chain_spec,
        keystore,
        babe,
        voter_state,
        authority_set,
        justifications,
        finality_proofs,
        subscriptions,
    } = parts;
    let mut module = RpcModule::new(());
    module.merge(SystemApiServer::<Hash, AccountId, Nonce>::into_rpc(System::new(client.clone(), pool)))?;
    module.merge(TransactionPayment::new(client.clone()).into_rpc())?;
    module.merge(Babe::new(client.clone(), babe.clone(), keystore, select_chain).into_rpc())?;
    module.merge(
        Grandpa::new(subscriptions, authority_set.clone(), voter_state, justifications, finality_proofs).into_rpc(),
    )?;
    module.merge(SyncState::new(chain_spec, client, authority_set, babe)?.into_rpc())?;
    Ok(module)
}
