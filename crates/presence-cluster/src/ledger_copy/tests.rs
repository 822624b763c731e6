//! What is learned in any order, and what follows from it.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn instance(number: i32) -> InstanceId {
    InstanceId::new(number).unwrap()
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn owned(number: i32, owner: Option<u8>, epoch: i64) -> Ownership {
    Ownership {
        instance: instance(number),
        node: owner.map(node),
        epoch: presence_store::Epoch(epoch),
    }
}

/// A copy, and the time.
struct Reader {
    copy: LedgerCopy,
    now: Instant,
    nodes: Vec<u8>,
}

impl Reader {
    fn new(nodes: &[u8]) -> Self {
        Self {
            copy: LedgerCopy::default(),
            now: Instant::now(),
            nodes: nodes.to_vec(),
        }
    }

    fn news(&self, changed: Vec<Ownership>, is_everything: bool) -> LedgerNews {
        let nodes = self.nodes.iter().map(|number| Node {
            id: node(*number),
            address: String::new(),
        });
        LedgerNews {
            version: LedgerVersion(1),
            nodes: nodes.collect(),
            changed,
            is_everything,
        }
    }

    fn read(&mut self, changed: Vec<Ownership>) -> Vec<Ownership> {
        let news = self.news(changed, false);
        self.copy.read(self.now, self.now, news).0
    }

    fn read_everything(&mut self, began: Instant, everything: Vec<Ownership>) -> Vec<InstanceId> {
        let news = self.news(everything, true);
        self.copy.read(self.now, began, news).1
    }

    fn owner(&self, number: i32) -> Option<Ownership> {
        let (node, epoch) = self.copy.view().owner(instance(number))?;
        Some(Ownership {
            instance: instance(number),
            node,
            epoch,
        })
    }
}

#[test]
fn what_is_newer_stays_whatever_comes_after_it() {
    let in_order = [
        owned(1, None, 0),
        owned(1, Some(1), 1),
        owned(1, None, 1),
        owned(1, Some(2), 2),
        owned(1, Some(1), 3),
    ];
    for (at, later) in in_order.iter().enumerate() {
        for earlier in &in_order[..=at] {
            let mut reader = Reader::new(&[1, 2]);
            assert_eq!(reader.read(vec![*later]), [*later]);
            assert_eq!(reader.read(vec![*earlier]), [], "{earlier:?} after {later:?}");
            assert!(!reader.copy.learn(reader.now, earlier));
            assert_eq!(reader.owner(1), Some(*later));
        }
    }
}

#[test]
fn who_has_how_many_is_counted() {
    let mut reader = Reader::new(&[1, 2, 3]);
    reader.read(vec![
        owned(1, Some(1), 1),
        owned(2, Some(2), 1),
        owned(3, Some(2), 1),
        owned(4, None, 0),
    ]);
    assert_eq!(reader.copy.others(node(1)), [(node(2), 2), (node(3), 0)]);
    assert_eq!(reader.copy.free(), 1);
    reader.read(vec![
        owned(2, None, 1),
        owned(3, Some(3), 2),
        owned(4, Some(3), 1),
    ]);
    assert_eq!(reader.copy.others(node(1)), [(node(2), 0), (node(3), 2)]);
    assert_eq!(reader.copy.free(), 1);
    reader.copy.forget(reader.now, instance(2));
    reader.copy.forget(reader.now, instance(3));
    assert_eq!(reader.copy.others(node(1)), [(node(2), 0), (node(3), 1)]);
    assert_eq!(reader.copy.free(), 0);
}

#[test]
fn how_long_nobody_has_something_is_counted_from_when_it_was_learned() {
    let mut reader = Reader::new(&[1]);
    reader.read(vec![owned(1, None, 0)]);
    reader.now += 4 * SECOND;
    reader.read(vec![owned(1, None, 0), owned(2, None, 0)]);
    reader.now += SECOND;
    assert_eq!(reader.copy.free_for(reader.now, 5 * SECOND), 1);
    assert_eq!(reader.copy.free_for(reader.now, SECOND), 2);
}

#[test]
fn whatever_is_missing_from_everything_is_gone_unless_it_is_newer() {
    let mut reader = Reader::new(&[1]);
    reader.read(vec![owned(1, Some(1), 1), owned(2, Some(1), 1)]);
    let began = reader.now;
    reader.now += SECOND;
    assert!(reader.copy.learn(reader.now, &owned(3, Some(1), 1)));
    let gone = reader.read_everything(began, vec![owned(1, Some(1), 1)]);
    assert_eq!(gone, [instance(2)]);
    assert_eq!(
        reader.owner(3),
        Some(owned(3, Some(1), 1)),
        "it was claimed since"
    );
    reader.now += SECOND;
    let gone = reader.read_everything(reader.now, vec![owned(1, Some(1), 1)]);
    assert_eq!(gone, [instance(3)]);
}

#[test]
fn a_database_that_was_restored_is_believed() {
    let mut reader = Reader::new(&[1, 2]);
    reader.read(vec![owned(1, Some(1), 9), owned(2, Some(1), 4)]);
    reader.now += SECOND;
    let gone = reader.read_everything(reader.now, vec![owned(1, Some(2), 3), owned(2, Some(1), 4)]);
    assert_eq!(gone, [instance(1)], "what this node had of it");
    assert_eq!(reader.owner(1), Some(owned(1, Some(2), 3)));
}

/// Two nodes with a hundred each, of which the second gives up so many.
fn giving_up(many: i32) -> Reader {
    let mut reader = Reader::new(&[1, 2]);
    let first = (1..=100).map(|number| owned(number, Some(1), 1));
    let second = (101..=200).map(|number| owned(number, Some(2), 1));
    reader.read(first.chain(second).collect());
    reader.read((101..=100 + many).map(|number| owned(number, None, 1)).collect());
    reader
}

#[test]
fn a_node_that_gives_up_much_more_than_its_surplus_is_leaving() {
    for (many, is_leaving) in [(1, false), (10, false), (20, true), (100, true)] {
        let reader = giving_up(many);
        assert_eq!(
            reader.copy.others(node(1)).is_empty(),
            is_leaving,
            "{many} of 100"
        );
    }
}

#[test]
fn a_node_that_takes_something_or_gives_nothing_up_any_more_is_not_leaving() {
    let mut takes = giving_up(50);
    takes.read(vec![owned(101, Some(2), 2)]);
    let mut waits = giving_up(50);
    waits.now += 9 * SECOND;
    waits.read(Vec::new());
    assert!(waits.copy.others(node(1)).is_empty());
    waits.now += SECOND;
    waits.read(Vec::new());
    for reader in [takes, waits] {
        assert_eq!(reader.copy.others(node(1)).len(), 1);
    }
}

#[test]
fn what_was_deleted_is_not_told_of_again_by_an_answer_that_was_under_way() {
    let mut reader = Reader::new(&[1, 2]);
    reader.read(vec![owned(1, Some(1), 1), owned(2, Some(2), 1)]);
    reader.copy.forget(reader.now, instance(1));
    // Of the next one it has not even heard.
    reader.copy.forget(reader.now, instance(3));
    reader.now += SECOND;
    let learned = reader.read(vec![owned(1, None, 1), owned(2, None, 1), owned(3, Some(1), 1)]);
    assert_eq!(learned, [owned(2, None, 1)]);
    assert!(!reader.copy.learn(reader.now, &owned(1, Some(1), 2)));
    assert_eq!((reader.copy.free(), reader.copy.view().len()), (1, 1));
    reader.now += DELETED;
    reader.read(Vec::new());
    assert!(reader.copy.deleted.is_empty(), "it is not remembered for ever");
}
