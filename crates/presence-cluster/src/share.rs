//! How many instances a node is to have, and what follows when it has more or fewer.

use presence_store::NodeId;

/// Who has how many instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loads {
    /// How many instances there are.
    pub(crate) wanted: usize,
    /// How many of them nobody has.
    pub(crate) free: usize,
    pub(crate) me: (NodeId, usize),
    /// Those that stay in the cluster, but for this one.
    pub(crate) others: Vec<(NodeId, usize)>,
}

impl Loads {
    /// How many of those that nobody has are this node's to take.
    ///
    /// First every node gets as many as all can have alike. Only what is left over then goes to whoever is faster,
    /// one to a node, so that no node takes what another one was to get.
    pub(crate) fn to_claim(&self) -> usize {
        let (_, mine) = self.me;
        let gap = self.least().saturating_sub(mine);
        let left = self.free.saturating_sub(gap + self.gaps());
        let extra = self.most().saturating_sub(mine.max(self.least()));
        (gap + extra.min(left)).min(self.free)
    }

    /// How many this node has too many.
    ///
    /// That is what it has above anybody's share. When shares differ by one and some node still lacks something,
    /// those with the larger share give one each, in the order of their ids: no more of them than it lacks.
    pub(crate) fn to_hand_over(&self) -> usize {
        let (me, mine) = self.me;
        let (least, most) = (self.least(), self.most());
        if mine > most {
            return mine - most;
        }
        if mine == least {
            return 0;
        }
        let above: usize = self.held_by_others().map(|held| held.saturating_sub(most)).sum();
        let lacking = self.gaps().saturating_sub(self.free + above);
        let before_me = self
            .others
            .iter()
            .filter(|(node, held)| *held == most && *node < me);
        usize::from(mine == most && before_me.count() < lacking)
    }

    /// What every node can have.
    fn least(&self) -> usize {
        self.wanted / (self.others.len() + 1)
    }

    /// What no node has to exceed.
    fn most(&self) -> usize {
        self.wanted.div_ceil(self.others.len() + 1)
    }

    /// How many the other nodes lack.
    fn gaps(&self) -> usize {
        let least = self.least();
        self.held_by_others().map(|held| least.saturating_sub(held)).sum()
    }

    fn held_by_others(&self) -> impl Iterator<Item = usize> {
        self.others.iter().map(|(_, held)| *held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(wanted: usize, free: usize, held: &[usize], me: usize) -> Loads {
        let id = |at: usize| NodeId::from_bytes([at as u8; 16]);
        let others = held.iter().enumerate().filter(|(at, _)| *at != me);
        Loads {
            wanted,
            free,
            me: (id(me), held[me]),
            others: others.map(|(at, held)| (id(at), *held)).collect(),
        }
    }

    #[test]
    fn a_node_claims_its_share_and_leaves_others_theirs() {
        let rows: [(usize, usize, &[usize], usize); 8] = [
            // Alone, it takes all.
            (7, 7, &[0], 7),
            (0, 0, &[0], 0),
            // What is free is not enough for all.
            (9, 2, &[1, 3, 3], 2),
            // Others lack as much as is free.
            (9, 2, &[3, 1, 3], 0),
            // One is left over.
            (10, 2, &[3, 2, 3], 1),
            (10, 1, &[3, 3, 3], 1),
            (10, 1, &[4, 2, 3], 0),
            // More is free than anybody's share.
            (6, 6, &[0, 0, 0], 2),
        ];
        for (wanted, free, held, expected) in rows {
            let loads = loads(wanted, free, held, 0);
            assert_eq!(loads.to_claim(), expected, "{loads:?}");
        }
    }

    #[test]
    fn a_node_hands_over_only_what_another_one_lacks() {
        let rows: [(usize, usize, &[usize], [usize; 3]); 6] = [
            (9, 0, &[3, 3, 3], [0, 0, 0]),
            (9, 0, &[9, 0, 0], [6, 0, 0]),
            (10, 0, &[4, 3, 3], [0, 0, 0]),
            // One lacks one, and two have one more than they must: the first gives it.
            (7, 0, &[3, 3, 1], [1, 0, 0]),
            // What is free already is enough.
            (7, 1, &[3, 2, 1], [0, 0, 0]),
            // The one above everybody's share gives it.
            (8, 0, &[3, 4, 1], [0, 1, 0]),
        ];
        for (wanted, free, held, expected) in rows {
            for (me, expected) in expected.into_iter().enumerate() {
                let loads = loads(wanted, free, held, me);
                assert_eq!(loads.to_hand_over(), expected, "{loads:?}");
            }
        }
    }
}
