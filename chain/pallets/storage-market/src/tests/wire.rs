//! Bytes that others rely on: calls as they are signed, indices of errors, events and the hold's reason.

use codec::Encode;
use crust_protocol::TOKEN;

use crate::{Call, Error, Event, HoldReason, mock::*};

#[test]
fn calls_keep_their_bytes() {
    let (order, file) = ([5; 32], cid("file"));
    let place: Call<Test> = Call::place_order {
        nonce: 0x0102,
        cid: *file.as_bytes(),
        size: 3,
        audit_root: [4; 32],
        flags: 1,
        replicas: 2,
        term: 10,
        balance: TOKEN,
        nodes: Default::default(),
    };
    let bytes = [
        &[0][..],
        &[2, 1, 0, 0, 0, 0, 0, 0],
        file.as_bytes(),
        &[3, 0, 0, 0, 0, 0, 0, 0],
        &[4; 32],
        &[1],
        &[2, 0, 0, 0],
        &[10, 0, 0, 0],
        // Compact: 10^12 in five bytes.
        &[7, 0, 16, 165, 212, 232],
        &[0],
    ];
    assert_eq!(place.encode(), bytes.concat());
    let node = [7, 0, 0, 0];
    let fund: Call<Test> = Call::fund { order, amount: 1 };
    assert_eq!(fund.encode(), [&[1][..], &order, &[4]].concat());
    let cancel: Call<Test> = Call::cancel { order };
    assert_eq!(cancel.encode(), [&[2][..], &order].concat());
    let take: Call<Test> = Call::take { order, node: 7 };
    assert_eq!(take.encode(), [&[3][..], &order, &node].concat());
    let claim: Call<Test> = Call::claim { order, node: 7 };
    assert_eq!(claim.encode(), [&[4][..], &order, &node].concat());
    let end: Call<Test> = Call::end { order };
    assert_eq!(end.encode(), [&[5][..], &order].concat());
    let deposit: Call<Test> = Call::deposit_collateral { node: 7, amount: 1 };
    assert_eq!(deposit.encode(), [&[6][..], &node, &[4]].concat());
    let withdraw: Call<Test> = Call::withdraw_collateral { node: 7, amount: 1 };
    assert_eq!(withdraw.encode(), [&[7][..], &node, &[4]].concat());
    let retire: Call<Test> = Call::retire { order, node: 7 };
    assert_eq!(retire.encode(), [&[8][..], &order, &node].concat());
    let retire_node: Call<Test> = Call::retire_node { node: 7 };
    assert_eq!(retire_node.encode(), [&[9][..], &node].concat());
    let abandon: Call<Test> = Call::abandon { node: 7 };
    assert_eq!(abandon.encode(), [&[10][..], &node].concat());
}

#[test]
fn indices_stay() {
    assert_eq!(HoldReason::Order.encode(), [0]);
    assert_eq!(HoldReason::Collateral.encode(), [1]);
    assert_eq!(Error::<Test>::BadCid.encode(), [0]);
    assert_eq!(Error::<Test>::UnknownOrder.encode(), [11]);
    assert_eq!(Error::<Test>::NotEnded.encode(), [22]);
    assert_eq!(Error::<Test>::NotEnoughCollateral.encode(), [23]);
    assert_eq!(Error::<Test>::PlatformFull.encode(), [28]);
    let order = [5; 32];
    assert_eq!(Event::<Test>::Cancelled { order }.encode(), [&[2][..], &order].concat());
    let sealed = Event::<Test>::ReplicaSealed { order, node: 7 };
    assert_eq!(sealed.encode(), [&[4][..], &order, &[7, 0, 0, 0]].concat());
    assert_eq!(Event::<Test>::OrderEnded { order, refund: 1 }.encode()[0], 8);
    let silent = Event::<Test>::NodeSilent { node: 7 };
    assert_eq!(silent.encode(), [16, 7, 0, 0, 0]);
}
