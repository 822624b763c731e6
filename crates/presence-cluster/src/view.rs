//! Who lives and who has what, as this node knows it.

use std::sync::Arc;

use presence_core::InstanceId;
use presence_store::{Epoch, Node, NodeId, Ownership};
use rpds::HashTrieMapSync;

/// Where an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// At this node.
    Here(Epoch),
    /// At that one, as far as is known.
    There(Arc<Node>, Epoch),
    /// Nobody has it, or whoever has it lives no longer.
    Nowhere,
}

impl Whereabouts {
    /// Whether it is at this node.
    #[must_use]
    pub fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }
}

/// Where something is kept that exactly one node keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// At this node.
    Here,
    /// At that one.
    There(Arc<Node>),
}

/// Who has an instance, in which epoch; `None`: nobody since that epoch.
pub(crate) type Owner = (Option<NodeId>, Epoch);

/// A moment of the cluster. Cloning it copies a few pointers.
#[derive(Clone, Default)]
pub(crate) struct View {
    pub(crate) me: Option<NodeId>,
    /// By their ids.
    pub(crate) nodes: Arc<[Arc<Node>]>,
    /// Of every instance, so that what is older than what is known shows.
    owners: HashTrieMapSync<InstanceId, Owner>,
}

impl View {
    pub(crate) fn whereabouts(&self, instance: InstanceId) -> Whereabouts {
        let Some((Some(owner), epoch)) = self.owner(instance) else {
            return Whereabouts::Nowhere;
        };
        if self.me == Some(owner) {
            return Whereabouts::Here(epoch);
        }
        match self.nodes.iter().find(|node| node.id == owner) {
            Some(node) => Whereabouts::There(Arc::clone(node), epoch),
            None => Whereabouts::Nowhere,
        }
    }

    /// Where `key` is at home: the node with the highest score for it, so that a node which comes or goes moves
    /// only what is its own.
    pub(crate) fn home(&self, key: u64) -> Home {
        let highest = self.nodes.iter().max_by_key(|node| score(node.id, key));
        match highest {
            Some(node) if Some(node.id) != self.me => Home::There(Arc::clone(node)),
            _ => Home::Here,
        }
    }

    pub(crate) fn owner(&self, instance: InstanceId) -> Option<Owner> {
        self.owners.get(&instance).copied()
    }

    pub(crate) fn owners(&self) -> Vec<(InstanceId, Owner)> {
        let owners = self.owners.iter();
        owners.map(|(instance, owner)| (*instance, *owner)).collect()
    }

    /// How many instances there are.
    pub(crate) fn len(&self) -> usize {
        self.owners.size()
    }

    /// How many of these there still are; the others were deleted.
    pub(crate) fn count(&self, instances: &[InstanceId]) -> usize {
        let there = instances.iter().filter(|id| self.owner(**id).is_some());
        there.count()
    }

    pub(crate) fn set(&mut self, ownership: &Ownership) {
        let owner = (ownership.node, ownership.epoch);
        self.owners.insert_mut(ownership.instance, owner);
    }

    pub(crate) fn forget(&mut self, instance: InstanceId) -> Option<Owner> {
        let owner = self.owner(instance);
        self.owners.remove_mut(&instance);
        owner
    }
}

/// The same on every node, of whatever version: FNV-1a with a finish that spreads it.
fn score(node: NodeId, key: u64) -> u64 {
    let bytes = node.as_bytes().iter().copied().chain(key.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 10_000;

    fn node(number: u8) -> NodeId {
        // As random ids are: alike in nothing.
        let byte = |at: usize| number.wrapping_mul(151).wrapping_add((at as u8).wrapping_mul(89));
        NodeId::from_bytes(std::array::from_fn(byte))
    }

    fn view(me: Option<u8>, nodes: &[u8]) -> View {
        let nodes = nodes.iter().map(|number| {
            Arc::new(Node {
                id: node(*number),
                address: String::new(),
            })
        });
        View {
            me: me.map(node),
            nodes: nodes.collect(),
            ..View::default()
        }
    }

    /// Which node each key is at home at.
    fn homes(nodes: &[u8]) -> Vec<NodeId> {
        let view = view(None, nodes);
        let home = |key| match view.home(key) {
            Home::There(node) => node.id,
            Home::Here => panic!("no node is this one"),
        };
        (0..KEYS).map(home).collect()
    }

    #[test]
    fn a_node_that_comes_or_goes_moves_only_what_is_its_own() {
        let (three, four) = (homes(&[1, 2, 3]), homes(&[1, 2, 3, 4]));
        let moved: Vec<_> = three
            .iter()
            .zip(&four)
            .filter(|(before, after)| before != after)
            .collect();
        assert!(moved.iter().all(|(_, after)| **after == node(4)));
        let due = KEYS as usize / 4;
        assert!(
            (due * 9 / 10..=due * 11 / 10).contains(&moved.len()),
            "{} moved",
            moved.len()
        );
    }

    #[test]
    fn homes_are_spread_evenly() {
        for nodes in [&[1, 2][..], &[1, 2, 3], &[5, 6, 7, 8, 9]] {
            let homes = homes(nodes);
            let due = homes.len() / nodes.len();
            for number in nodes {
                let at_home = homes.iter().filter(|home| **home == node(*number)).count();
                assert!(
                    (due * 9 / 10..=due * 11 / 10).contains(&at_home),
                    "{at_home}, not {due}"
                );
            }
        }
    }

    #[test]
    fn everybody_agrees_on_a_home() {
        let views = [view(Some(1), &[1, 2]), view(Some(2), &[2, 1])];
        for key in 0..100 {
            let here = views.iter().filter(|view| view.home(key) == Home::Here);
            assert_eq!(here.count(), 1, "{key}");
        }
        assert_eq!(View::default().home(7), Home::Here, "whoever is alone is at home");
    }

    #[test]
    fn an_instance_is_where_its_owner_lives() {
        let instance = InstanceId::new(7).unwrap();
        let epoch = Epoch(3);
        let mut view = view(Some(1), &[1, 2]);
        assert_eq!(view.whereabouts(instance), Whereabouts::Nowhere);
        let there = Whereabouts::There(Arc::clone(&view.nodes[1]), epoch);
        let rows = [
            (Some(1), Whereabouts::Here(epoch)),
            (Some(2), there),
            // Struck off.
            (Some(3), Whereabouts::Nowhere),
            (None, Whereabouts::Nowhere),
        ];
        for (owner, expected) in rows {
            view.set(&Ownership {
                instance,
                node: owner.map(node),
                epoch,
            });
            assert_eq!(view.whereabouts(instance), expected);
        }
    }
}
