//! Nodes that leave, and replicas that are offered to others.
//!
//! * *retire*, a replica or a node: its places open to others while it goes on storing and earning. Whoever seals one
//!   takes it over, which costs the leaving node at most the difference in price; what nobody took over for
//!   `RETIRE_WINDOW` slots is free to go with its node's `Gone`.
//! * *abandon*, a node that can no longer speak: all its replicas end as admitted losses; under a due draw, which fails
//!   with it, as found ones.
//! * silence: all its replicas end as found losses ([`silence`](crate::silence)).
//! * *out*, a node whose program or platform was withdrawn long enough ago: all its replicas end, and it pays nothing.
//!
//! A node has any number of replicas, and any number of nodes may leave, so the hook works through [`Leavers`] in turn: a
//! page a block, of several where each has little left. None waits for another that has more. A node whose provider had
//! it leave takes nothing new, ever; one that fell silent nothing until it speaks, or all that it held has ended.

use alloc::vec::Vec;
use codec::{Decode, Encode, MaxEncodedLen};
use crust_protocol::{NodeId, order::OrderId};
use frame_support::{dispatch::DispatchResult, ensure, storage::KeyPrefixIterator, weights::Weight};
use scale_info::TypeInfo;
use sp_runtime::{AccountId32, SaturatedConversion};

use crate::{
    Config, Error, Event, LEAVE_A_BLOCK, LEAVERS_A_BLOCK, LeaverServed, Leavers, Ledger, NodeAccounts, Nodes,
    OpenOrders, Orders, Pallet, Replicas, WeightInfo, losses::Loss,
};

/// How the hook works through a node's replicas.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub enum Leave {
    /// All end as found losses, unless it speaks again.
    #[codec(index = 0)]
    Silent,
    /// All end, as found losses or as admitted ones.
    #[codec(index = 1)]
    Abandoned { found: bool },
    /// All are offered to others; those up to this one are.
    #[codec(index = 2)]
    Retiring { after: Option<OrderId> },
    /// All end without a loss: the node may speak no more, and it is not its fault.
    #[codec(index = 3)]
    Out,
}

impl<T: Config> Pallet<T> {
    pub(crate) fn do_retire(provider: &AccountId32, id: OrderId, node: NodeId) -> DispatchResult {
        ensure!(T::Nodes::provider(node).as_ref() == Some(provider), Error::<T>::NotProvider);
        ensure!(Self::would_end(node, &id), Error::<T>::NoReplica);
        ensure!(Self::offer(id, node), Error::<T>::RetiresAlready);
        Ok(())
    }

    pub(crate) fn do_retire_node(provider: &AccountId32, node: NodeId) -> DispatchResult {
        let (left, holds) = Self::let_leave(provider, node)?;
        ensure!(!left, Error::<T>::RetiresAlready);
        if holds && !Leavers::<T>::contains_key(node) {
            Leavers::<T>::insert(node, Leave::Retiring { after: None });
        }
        Self::deposit_event(Event::NodeRetires { node });
        Ok(())
    }

    pub(crate) fn do_abandon(provider: &AccountId32, node: NodeId) -> DispatchResult {
        let before = Leavers::<T>::get(node);
        ensure!(!matches!(before, Some(Leave::Abandoned { .. })), Error::<T>::RetiresAlready);
        let (left, holds) = Self::let_leave(provider, node)?;
        // Who holds nothing any more may still owe an answer.
        ensure!(!left || holds || T::Nodes::due(node).is_some(), Error::<T>::RetiresAlready);
        let is_out = T::Nodes::is_out(node);
        let found = !is_out && (Self::is_silent(node) || T::Nodes::due(node).is_some());
        // The draw of a node that fell silent has failed already.
        if found && before != Some(Leave::Silent) {
            T::Nodes::unanswered(node);
        }
        let leave = if is_out { Leave::Out } else { Leave::Abandoned { found } };
        if holds {
            Leavers::<T>::insert(node, leave);
        }
        Self::deposit_event(Event::NodeAbandoned { node, found });
        Ok(())
    }

    /// Whether a node takes nothing new: it retires, was abandoned or fell silent.
    pub(crate) fn leaves(node: NodeId) -> bool {
        Leavers::<T>::contains_key(node) || NodeAccounts::<T>::get(node).leaving
    }

    /// Works through a page of the replicas of nodes that leave.
    pub(crate) fn work_through_leavers() -> Weight {
        let (mut nodes, mut replicas, mut takes) = (0u32, 0u32, 0u32);
        let mut served = LeaverServed::<T>::get();
        while nodes < LEAVERS_A_BLOCK && replicas < LEAVE_A_BLOCK {
            let next = Leavers::<T>::iter_from(Leavers::<T>::hashed_key_for(served)).next();
            let Some((node, leave)) = next.or_else(|| Leavers::<T>::iter().next()) else { break };
            let (touched, ended) = Self::serve_leaver(node, leave, LEAVE_A_BLOCK.saturating_sub(replicas));
            nodes = nodes.saturating_add(1);
            replicas = replicas.saturating_add(touched);
            takes = takes.saturating_add(ended);
            served = node;
        }
        if nodes > 0 {
            LeaverServed::<T>::put(served);
        }
        T::WeightInfo::leave(nodes, replicas, takes)
    }

    /// Works through so many replicas of a node that leaves, or fewer. Says how many, and how many takes ended with them.
    fn serve_leaver(node: NodeId, leave: Leave, most: u32) -> (u32, u32) {
        let page = |orders: KeyPrefixIterator<OrderId>| orders.take(most.saturated_into()).collect::<Vec<_>>();
        let orders = match &leave {
            Leave::Silent if !Self::is_silent(node) => Vec::new(),
            Leave::Retiring { after: Some(after) } => {
                page(Replicas::<T>::iter_key_prefix_from(node, Replicas::<T>::hashed_key_for(node, after)))
            }
            _ => page(Replicas::<T>::iter_key_prefix(node)),
        };
        let (touched, last): (u32, _) = (orders.len().saturated_into(), orders.last().copied());
        let loss = match leave {
            Leave::Retiring { .. } => None,
            Leave::Abandoned { found: false } => Some(Loss::Admitted),
            Leave::Silent | Leave::Abandoned { found: true } => Some(Loss::Found),
            Leave::Out => Some(Loss::Free),
        };
        let takes = match loss {
            Some(loss) => Self::end_page(node, &orders, loss),
            None => {
                for id in orders {
                    Self::offer(id, node);
                }
                0
            }
        };
        match (leave, last) {
            // It spoke again; what its provider wanted before goes on.
            (Leave::Silent, None) if NodeAccounts::<T>::get(node).leaving => {
                Leavers::<T>::insert(node, Leave::Retiring { after: None });
            }
            _ if touched < most => Leavers::<T>::remove(node),
            (Leave::Retiring { .. }, Some(last)) => Leavers::<T>::insert(node, Leave::Retiring { after: Some(last) }),
            _ => {}
        }
        (touched, takes)
    }

    /// Ends these replicas of a node. Says how many takes ended with them.
    fn end_page(node: NodeId, orders: &[OrderId], loss: Loss) -> u32 {
        // Only a change of its replicas makes a node's draw.
        let standing = (!orders.is_empty()).then(|| Self::standing(node)).flatten();
        let Some(mut standing) = standing else { return 0 };
        let (mut ledger, mut takes) = (Ledger::open(), 0u32);
        for id in orders {
            let Some(replica) = Replicas::<T>::get(node, id) else { continue };
            let Some(order) = Orders::<T>::get(id) else { continue };
            let more = Self::end_early(&mut ledger, *id, order, &mut standing, replica, loss);
            takes = takes.saturating_add(more);
        }
        Self::keep(standing);
        ledger.close();
        takes
    }

    /// Offers a replica's place to others. Says whether it was not offered before.
    fn offer(id: OrderId, node: NodeId) -> bool {
        let Some(mut order) = Orders::<T>::get(id) else { return false };
        if order.offered_in(node).is_some() || order.offered.try_push((node, Self::slot())).is_err() {
            return false;
        }
        if order.wants_replicas() {
            OpenOrders::<T>::insert(id, ());
        }
        Orders::<T>::insert(id, order);
        Self::deposit_event(Event::ReplicaOffered { order: id, node });
        true
    }

    /// A provider's node takes nothing new from now on. Says whether that was so before, and whether it holds anything:
    /// who does not has no turn among the leavers.
    fn let_leave(provider: &AccountId32, node: NodeId) -> Result<(bool, bool), Error<T>> {
        ensure!(T::Nodes::provider(node).as_ref() == Some(provider), Error::<T>::NotProvider);
        let mut account = Self::account_of(node);
        let left = core::mem::replace(&mut account.leaving, true);
        let holds = account.holding.is_some();
        Self::keep_account(node, account);
        Ok((left, holds))
    }
}
