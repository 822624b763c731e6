//! Something on a disk with a cache: what it is, what of it is durable, and what changed between the two.

/// A change of a `T`.
pub(super) trait Change<T> {
    fn apply(&self, to: &mut T);
}

/// A `T` as those see it who use the disk, and as it is on the disk.
#[derive(Debug)]
pub(super) struct Cached<T, C> {
    now: T,
    durable: T,
    /// What leads from `durable` to `now`, in order.
    unsynced: Vec<C>,
}

impl<T: Clone, C: Change<T>> Cached<T, C> {
    /// One that is on the disk as it is.
    pub(super) fn durable(value: T) -> Self {
        Self {
            now: value.clone(),
            durable: value,
            unsynced: Vec::new(),
        }
    }

    /// As it was last written.
    pub(super) fn now(&self) -> &T {
        &self.now
    }

    pub(super) fn change(&mut self, change: C) {
        change.apply(&mut self.now);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// How many changes are not on the disk yet.
    pub(super) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// What is on the disk, and what is not yet.
    pub(super) fn into_parts(self) -> (T, Vec<C>) {
        (self.durable, self.unsynced)
    }
}
