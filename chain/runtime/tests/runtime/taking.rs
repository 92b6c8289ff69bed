//! Which nodes take something new, as the world is told.

use crust_evidence::Tee;
use crust_protocol::{TOKEN, parameters::Parameters};
use crust_runtime::{Runtime, StorageMarket};
use frame_support::assert_ok;
use pallet_mpow::{Approval, Measurements, Nodes};
use pallet_storage_market::{Barred, Error, Leave, Leavers};

use crate::network::{Node, Wish, run};

#[test]
fn a_node_that_takes_nothing_new_is_told_why_and_its_takes_fail() {
    run(Parameters::DEVELOPMENT, 0, || {
        let node = Node::register(0, 100 * TOKEN);
        let order = Wish::of_file(1, 5).place();
        let cap = Parameters::DEVELOPMENT.platform_cap;
        assert_eq!(StorageMarket::room(0), Ok(cap));
        assert_eq!(StorageMarket::room(1), Err(Barred::NotRegistered));

        let record = Nodes::<Runtime>::get(0).unwrap();
        let take = || StorageMarket::take(node.origin(), order, 0).map_err(|refused| refused.error);
        let barred = |reason, error: Error<Runtime>| {
            assert_eq!(StorageMarket::room(0), Err(reason));
            assert_eq!(take(), Err(error.into()));
        };
        Nodes::<Runtime>::mutate_extant(0, |node| node.family.tee = Tee::Tdx);
        barred(Barred::NoHeir, Error::NotRegistered);
        Nodes::<Runtime>::insert(0, &record);

        let approval = Measurements::<Runtime>::get(record.measurement).unwrap();
        let revoked = Approval { revoked: Some(1), ..approval.clone() };
        Measurements::<Runtime>::insert(record.measurement, revoked);
        barred(Barred::Withdrawn, Error::NotRegistered);
        Measurements::<Runtime>::insert(record.measurement, approval);

        Leavers::<Runtime>::insert(0, Leave::Retiring { after: None });
        barred(Barred::Leaves, Error::NodeLeaves);
        Leavers::<Runtime>::remove(0);
        assert_ok!(take());
    });
}
