//! What the market keeps of a node: one record, read once and written once by whatever concerns the node as a whole. A
//! report, of which there is one a node and slot, needs no other key of its node's, unless that was drawn.

use codec::{Decode, Encode, MaxEncodedLen};
use crust_protocol::{NodeId, Slot};
use scale_info::TypeInfo;

use crate::{Collateral, Config, Holding, NodeAccounts, Nodes, Pallet};

/// What the market keeps of a node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct NodeAccount {
    /// What it holds and has earned, while it has a live replica.
    pub holding: Option<Holding>,
    pub collateral: Collateral,
    /// Its provider has retired or abandoned it: it takes nothing new, ever.
    pub leaving: bool,
}

impl<T: Config> Pallet<T> {
    /// A node's record as it is now.
    pub(crate) fn account_of(node: NodeId) -> NodeAccount {
        Self::account_in(node, Self::slot())
    }

    /// A node's record as it is in this slot: nothing is withheld from one that is out, and what was deposited in an
    /// earlier slot is fresh no more.
    pub(crate) fn account_in(node: NodeId, slot: Slot) -> NodeAccount {
        Self::account_if(node, slot, || T::Nodes::is_out(node))
    }

    /// The same, for whoever asks more often than for this whether the node is out.
    pub(crate) fn account_if(node: NodeId, slot: Slot, is_out: impl FnOnce() -> bool) -> NodeAccount {
        let mut account = NodeAccounts::<T>::get(node);
        if account.collateral.withheld.is_some() && is_out() {
            account.collateral.let_withheld_go();
        }
        if account.collateral.fresh.0 != slot {
            account.collateral.fresh = Default::default();
        }
        account
    }

    /// What a node holds, if it has a live replica.
    pub(crate) fn holding(node: NodeId) -> Option<Holding> {
        NodeAccounts::<T>::get(node).holding
    }

    pub(crate) fn keep_account(node: NodeId, mut account: NodeAccount) {
        if account.collateral.deposited == 0 {
            account.collateral.fresh = Default::default();
        }
        if account == NodeAccount::default() {
            NodeAccounts::<T>::remove(node);
        } else {
            NodeAccounts::<T>::insert(node, account);
        }
    }
}
