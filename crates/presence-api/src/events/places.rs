//! How many streams of events there may be. Each takes a connection for as long as it is open, so that they must
//! not take all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::scope::Scope;

/// Streams at the same time by one token: some windows of a console, and some programs.
pub(super) const BY_TOKEN: usize = 16;

/// There are as many streams as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

pub(super) struct Places {
    limit: usize,
    taken: Mutex<HashMap<Scope, usize>>,
}

/// The place of one stream, given back when it is dropped.
pub(crate) struct StreamPlace {
    places: Arc<Places>,
    scope: Scope,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: Mutex::default(),
        }
    }

    pub(super) fn take(self: &Arc<Self>, scope: Scope) -> Result<StreamPlace, NoPlace> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = taken.values().sum();
        let own = taken.entry(scope).or_default();
        if all >= self.limit || *own >= BY_TOKEN {
            return Err(NoPlace);
        }
        *own += 1;
        Ok(StreamPlace {
            places: Arc::clone(self),
            scope,
        })
    }

    pub(super) fn taken(&self) -> usize {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.values().sum()
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.scope) {
            *count -= 1;
        }
        taken.retain(|_, count| *count > 0);
    }
}

#[cfg(test)]
mod tests {
    use presence_core::InstanceId;

    use super::*;

    fn scope(number: i32) -> Scope {
        Scope::Instance(InstanceId::new(number).unwrap())
    }

    #[test]
    fn neither_one_token_nor_all_of_them_take_more_than_they_may() {
        let places = Arc::new(Places::new(BY_TOKEN + 2));
        let mut own: Vec<_> = (0..BY_TOKEN).map(|_| places.take(scope(1)).unwrap()).collect();
        assert!(places.take(scope(1)).is_err());
        let others = [2, 3].map(|number| places.take(scope(number)).unwrap());
        assert!(places.take(scope(4)).is_err());
        own.pop();
        assert!(places.take(scope(4)).is_ok());
        drop((own, others));
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
