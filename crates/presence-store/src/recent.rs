//! Which instances changed lately, for readers that keep up by the change instead of looking at everything.

use std::collections::{BTreeSet, VecDeque};

use presence_core::InstanceId;

/// The last changes, up to a bound.
#[derive(Default)]
pub(crate) struct RecentChanges {
    /// How many changes there were before the first one in `changes`.
    before: u64,
    changes: VecDeque<BTreeSet<InstanceId>>,
}

impl RecentChanges {
    /// One more change, which touched these; the answer is how many there were now.
    pub(crate) fn push(&mut self, touched: BTreeSet<InstanceId>) -> u64 {
        self.changes.push_back(touched);
        if self.changes.len() > KEPT {
            self.changes.pop_front();
            self.before += 1;
        }
        self.count()
    }

    /// One more change, which may have touched anything.
    pub(crate) fn push_everything(&mut self) -> u64 {
        self.before = self.count() + 1;
        self.changes.clear();
        self.count()
    }

    /// What was touched after the first `count` changes; `None` when that is forgotten.
    pub(crate) fn since(&self, count: u64) -> Option<BTreeSet<InstanceId>> {
        let known = usize::try_from(count.checked_sub(self.before)?).ok()?;
        Some(self.changes.iter().skip(known).flatten().copied().collect())
    }

    fn count(&self) -> u64 {
        self.before + self.changes.len() as u64
    }
}

/// A reader that fell further behind than this looks at everything, which then is not much more.
const KEPT: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn touched(numbers: &[i32]) -> BTreeSet<InstanceId> {
        numbers
            .iter()
            .filter_map(|number| InstanceId::new(*number))
            .collect()
    }

    #[test]
    fn what_changed_is_told_from_any_recent_count() {
        let mut recent = RecentChanges::default();
        assert_eq!(recent.since(0), Some(touched(&[])));
        assert_eq!(recent.push(touched(&[1])), 1);
        assert_eq!(recent.push(touched(&[])), 2);
        assert_eq!(recent.push(touched(&[2, 3])), 3);
        let rows: [(u64, &[i32]); 4] = [(0, &[1, 2, 3]), (1, &[2, 3]), (2, &[2, 3]), (3, &[])];
        for (count, expected) in rows {
            assert_eq!(recent.since(count), Some(touched(expected)), "since {count}");
        }
    }

    #[test]
    fn after_everything_changed_only_later_changes_are_known() {
        let mut recent = RecentChanges::default();
        recent.push(touched(&[1]));
        assert_eq!(recent.push_everything(), 2);
        recent.push(touched(&[2]));
        assert_eq!(recent.since(0), None);
        assert_eq!(recent.since(1), None);
        assert_eq!(recent.since(2), Some(touched(&[2])));
        assert_eq!(recent.since(3), Some(touched(&[])));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut recent = RecentChanges::default();
        for number in 1..=1001 {
            recent.push(touched(&[number]));
        }
        assert_eq!(recent.since(0), None);
        assert_eq!(recent.since(1).map(|known| known.len()), Some(1000));
    }
}
