//! What waits for the disk, without a disk.

use super::*;

const KIND: Kind = Kind(1);

fn device(number: i32) -> InstanceId {
    InstanceId::new(number).unwrap()
}

fn put(pending: &mut Pending, number: i32, name: &'static str, value: &'static str) {
    let change = RowChange {
        kind: KIND,
        name: name.into(),
        value: Some(value.into()),
    };
    pending
        .append(device(number), Epoch::default(), vec![change])
        .unwrap();
}

fn get(pending: &Pending, number: i32, name: &str) -> Option<Option<Bytes>> {
    pending.get(device(number), KIND, name.as_bytes())
}

fn taken(work: &Work) -> Vec<(i32, &[u8])> {
    let rows = work.rows.iter();
    rows.map(|(device, change)| (device.get(), change.value.as_deref().unwrap_or_default()))
        .collect()
}

#[test]
fn what_changes_while_a_commit_is_on_its_way_waits_for_the_next() {
    let mut pending = Pending::default();
    put(&mut pending, 1, "a", "old");
    put(&mut pending, 1, "b", "x");
    let work = pending.take().unwrap();
    put(&mut pending, 1, "a", "new");
    put(&mut pending, 2, "a", "other");
    assert_eq!(taken(&work), [(1, &b"old"[..]), (1, b"x")]);
    pending.committed(work, &BTreeSet::new());
    assert_eq!(get(&pending, 1, "b"), None, "the disk has it");
    assert_eq!(get(&pending, 1, "a"), Some(Some("new".into())));
    let work = pending.take().unwrap();
    assert_eq!(taken(&work), [(1, &b"new"[..]), (2, b"other")]);
    pending.committed(work, &BTreeSet::new());
    assert!(pending.take().is_none());
    assert_eq!(pending.bytes, 0);
}

#[test]
fn what_could_not_be_committed_is_taken_again_and_told() {
    let mut pending = Pending::default();
    put(&mut pending, 1, "a", "x");
    let mut waiting = pending.wait(Task::Sync(device(1)));
    let work = pending.take().unwrap();
    assert!(work.is_durable());
    work.failed(|| StoreError::Closed);
    assert!(matches!(waiting.try_recv(), Ok(Err(StoreError::Closed))));
    let work = pending.take().unwrap();
    assert_eq!(taken(&work), [(1, &b"x"[..])]);
    assert!(!work.is_durable(), "nobody waits any more");
}

#[test]
fn a_wipe_takes_what_was_pending_and_what_is_on_its_way_to_the_disk() {
    let mut pending = Pending::default();
    put(&mut pending, 1, "a", "x");
    put(&mut pending, 2, "a", "x");
    let on_its_way = pending.take().unwrap();
    pending.wipe(device(1));
    put(&mut pending, 1, "b", "new");
    pending.committed(on_its_way, &BTreeSet::new());
    assert_eq!(
        get(&pending, 1, "a"),
        Some(None),
        "the disk has it, but not for long"
    );
    assert_eq!(get(&pending, 2, "a"), None);
    let work = pending.take().unwrap();
    assert_eq!(work.wipes, [(device(1), Some(Epoch(0)))]);
    assert_eq!(taken(&work), [(1, &b"new"[..])]);
    assert!(work.is_durable());
    pending.committed(work, &BTreeSet::new());
    assert!(pending.take().is_none());
}

#[test]
fn a_wiped_device_may_begin_at_any_epoch() {
    let mut pending = Pending::new([(device(1), Epoch(5))].into());
    let append = |pending: &mut Pending, epoch| pending.append(device(1), Epoch(epoch), Vec::new());
    assert!(matches!(append(&mut pending, 4), Err(StoreError::Fenced)));
    pending.wipe(device(1));
    append(&mut pending, 0).unwrap();
}

/// Of a node that has the first device in the second epoch.
fn of_a_node() -> Pending {
    let mut pending = Pending::fenced();
    pending.begin(NodeId::from_bytes([1; 16]));
    pending.own(device(1), Epoch(2));
    pending
}

fn append(pending: &mut Pending, epoch: i64, name: &'static str) -> Result<(), StoreError> {
    let change = RowChange {
        kind: KIND,
        name: name.into(),
        value: Some("x".into()),
    };
    pending.append(device(1), Epoch(epoch), vec![change])
}

#[test]
fn a_node_writes_in_the_epoch_in_which_it_has_a_device_alone() {
    let mut pending = of_a_node();
    for epoch in [1, 3] {
        assert!(matches!(
            append(&mut pending, epoch, "a"),
            Err(StoreError::Fenced)
        ));
    }
    append(&mut pending, 2, "a").unwrap();
    pending.wipe(device(1));
    append(&mut pending, 2, "a").expect("a wipe gives up nothing");
    assert_eq!(
        (pending.epoch(device(1)), pending.epoch(device(2))),
        (Some(Epoch(2)), None)
    );
}

#[test]
fn what_waits_is_of_one_epoch() {
    let changes: [fn(&mut Pending); 4] = [
        |pending| pending.begin(NodeId::from_bytes([2; 16])),
        |pending| pending.disown(&[device(1)].into()),
        |pending| pending.own(device(1), Epoch(3)),
        |pending| {
            pending.disown(&[device(1)].into());
            pending.own(device(1), Epoch(4));
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut pending = of_a_node();
        append(&mut pending, 2, "a").unwrap();
        let mut waiting = pending.wait(Task::Sync(device(1)));
        change(&mut pending);
        assert!(
            matches!(waiting.try_recv(), Ok(Err(StoreError::Fenced))),
            "change {at}"
        );
        assert!(
            matches!(append(&mut pending, 2, "b"), Err(StoreError::Fenced)),
            "change {at}"
        );
        assert!(pending.take().is_none(), "change {at}");
        assert_eq!(pending.bytes, 0, "change {at}");
    }
    let mut pending = of_a_node();
    append(&mut pending, 2, "a").unwrap();
    pending.own(device(1), Epoch(2));
    assert!(pending.take().is_some(), "it has it still");
}

#[test]
fn what_another_node_has_is_forgotten_unless_it_came_back() {
    let mut pending = of_a_node();
    append(&mut pending, 2, "a").unwrap();
    let mut waiting = pending.wait(Task::Sync(device(1)));
    let work = pending.take().unwrap();
    append(&mut pending, 2, "b").unwrap();
    pending.committed(work, &[device(1)].into());
    assert!(matches!(waiting.try_recv(), Ok(Err(StoreError::Fenced))));
    assert_eq!(pending.epoch(device(1)), None);
    assert!(pending.take().is_none(), "nor is what came since");

    let mut pending = of_a_node();
    append(&mut pending, 2, "a").unwrap();
    let work = pending.take().unwrap();
    pending.own(device(1), Epoch(4));
    append(&mut pending, 4, "b").unwrap();
    pending.committed(work, &[device(1)].into());
    assert_eq!(pending.epoch(device(1)), Some(Epoch(4)));
    assert_eq!(get(&pending, 1, "b"), Some(Some("x".into())));
}

#[test]
fn a_wipe_is_of_the_epoch_in_which_it_was_asked_for() {
    let mut pending = of_a_node();
    pending.wipe(device(1));
    pending.wipe(device(2));
    pending.disown(&[device(1)].into());
    let work = pending.take().unwrap();
    assert_eq!(work.wipes, [(device(1), Some(Epoch(2))), (device(2), None)]);
    pending.own(device(1), Epoch(4));
    let work = pending.take().unwrap();
    assert_eq!(
        work.wipes,
        [(device(2), None)],
        "what the other node wrote is not wiped"
    );

    pending.wipe(device(1));
    let mut waiting = pending.wait(Task::Sync(device(2)));
    pending.begin(NodeId::from_bytes([2; 16]));
    assert!(waiting.try_recv().is_err(), "it is waited for still");
    let work = pending.take().unwrap();
    assert_eq!(
        work.wipes,
        [(device(2), None)],
        "nor what this node had as another"
    );
}

#[test]
fn what_nobody_waits_for_may_gather() {
    let mut pending = of_a_node();
    assert!(!pending.may_gather(), "there is nothing");
    append(&mut pending, 2, "a").unwrap();
    assert!(pending.may_gather());
    let _waiting = pending.wait(Task::Flush);
    assert!(!pending.may_gather());
}
