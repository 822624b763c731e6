//! All connections that clients have open: how many there may be, of one client and altogether, and which goes
//! when there is no room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client_address::subscriber;
use crate::connection::ConnectionState;

/// The table of open connections.
#[derive(Debug)]
pub(crate) struct Connections {
    end: CancellationToken,
    limit: usize,
    /// 0 is no limit.
    limit_per_client: usize,
    table: Mutex<Table>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Open>,
    by_client: HashMap<IpAddr, usize>,
    next: u64,
    evicted: u64,
    refused: u64,
}

#[derive(Debug)]
struct Open {
    /// `None` where one client's connections are not counted.
    client: Option<IpAddr>,
    state: Arc<ConnectionState>,
    leaving: CancellationToken,
}

/// A connection's place in the table, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    number: u64,
    pub(crate) state: Arc<ConnectionState>,
    /// Cancelled when the connection has to go: for another, or with all.
    pub(crate) leaving: CancellationToken,
}

/// Why a new connection has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// Requests are on their way on all of them. Some place will be free: [`Connections::freed`].
    AllBusy,
    /// Requests are on their way on all that this client may have.
    ClientHasAll,
}

/// Where the connections stand, for monitoring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectionCounts {
    pub(crate) open: usize,
    /// Idle ones that had to go for others.
    pub(crate) evicted: u64,
    /// New ones of clients that had all that they may.
    pub(crate) refused: u64,
}

impl Connections {
    /// All of them have to go once `end` is cancelled.
    pub(crate) fn new(limit: usize, limit_per_client: usize, end: CancellationToken) -> Self {
        Self {
            end,
            limit: limit.max(1),
            limit_per_client,
            table: Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Gives a new connection of `client` a place. Where there is none, the connection that was idle longest
    /// has to go: of the same client, when it has all that one client may, or else of anyone.
    ///
    /// # Errors
    /// [`NoPlace`] when none is idle.
    pub(crate) fn admit(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Place, NoPlace> {
        let client = client.filter(|_| self.limit_per_client > 0).map(subscriber);
        let mut table = self.lock();
        let has = client.and_then(|client| table.by_client.get(&client));
        if has.is_some_and(|count| *count >= self.limit_per_client) && !table.evict(client) {
            table.refused += 1;
            return Err(NoPlace::ClientHasAll);
        }
        if table.open.len() >= self.limit && !table.evict(None) {
            return Err(NoPlace::AllBusy);
        }
        let place = Place {
            connections: Arc::clone(self),
            number: table.next,
            state: Arc::new(ConnectionState::new(&self.end)),
            leaving: self.end.child_token(),
        };
        table.next += 1;
        if let Some(client) = client {
            *table.by_client.entry(client).or_default() += 1;
        }
        let open = Open {
            client,
            state: Arc::clone(&place.state),
            leaving: place.leaving.clone(),
        };
        table.open.insert(place.number, open);
        Ok(place)
    }

    /// Waits until a connection has ended.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    pub(crate) fn counts(&self) -> ConnectionCounts {
        let table = self.lock();
        ConnectionCounts {
            open: table.open.len(),
            evicted: table.evicted,
            refused: table.refused,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Lets the connection go that was idle longest, of `client` if that is given; `false` when none is idle.
    fn evict(&mut self, client: Option<IpAddr>) -> bool {
        let candidates = self.open.iter();
        let candidates = candidates.filter(|(_, open)| client.is_none() || open.client == client);
        let idle = candidates.filter_map(|(number, open)| Some((open.state.idle_since()?, *number)));
        let Some((_, number)) = idle.min_by_key(|(since, number): &(Instant, u64)| (*since, *number)) else {
            return false;
        };
        // Its place is free at once, though its task takes a moment to end.
        if let Some(open) = self.remove(number) {
            open.leaving.cancel();
            self.evicted += 1;
        }
        true
    }

    fn remove(&mut self, number: u64) -> Option<Open> {
        let open = self.open.remove(&number)?;
        if let Some(client) = open.client
            && let Some(count) = self.by_client.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&client);
            }
        }
        Some(open)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.lock().remove(self.number);
        self.connections.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    //! Who goes and who stays, without a socket.

    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    fn client(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    fn goes(place: &Place) -> bool {
        place.leaving.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_places_are_taken_the_longest_idle_connection_goes() {
        let connections = Arc::new(Connections::new(3, 0, CancellationToken::new()));
        let mut places = Vec::new();
        for last in 0..3 {
            places.push(connections.admit(client(last)).unwrap());
            advance(Duration::from_secs(1)).await;
        }
        // The first one is the oldest, and yet not the one that was idle longest.
        drop(places[0].state.begin_request());
        advance(Duration::from_secs(1)).await;
        let busy = places[1].state.begin_request();
        let newest = connections.admit(client(9)).unwrap();
        assert_eq!(places.iter().map(goes).collect::<Vec<_>>(), [false, false, true]);
        drop(busy);
        let _all_busy = [&places[0], &places[1], &newest].map(|place| place.state.begin_request());
        assert_eq!(connections.admit(client(8)).unwrap_err(), NoPlace::AllBusy);
        let counts = connections.counts();
        assert_eq!((counts.open, counts.evicted, counts.refused), (3, 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_with_all_it_may_have_loses_its_own_and_nobody_elses() {
        let connections = Arc::new(Connections::new(100, 2, CancellationToken::new()));
        let other = connections.admit(client(1)).unwrap();
        advance(Duration::from_secs(1)).await;
        let own = [(); 2].map(|()| connections.admit(client(2)).unwrap());
        let third = connections.admit(client(2)).unwrap();
        assert_eq!((goes(&other), goes(&own[0]), goes(&own[1])), (false, true, false));
        let busy = [&own[1], &third].map(|place| place.state.begin_request());
        assert_eq!(connections.admit(client(2)).unwrap_err(), NoPlace::ClientHasAll);
        drop(busy);
        let _busy = own[1].state.begin_request();
        assert_eq!(connections.counts().refused, 1);
        // Who is not counted has no such limit; a place that was given back can be had again.
        let uncounted: Vec<_> = (0..10).map(|_| connections.admit(None).unwrap()).collect();
        assert!(!uncounted.iter().any(goes));
        drop(third);
        assert!(connections.admit(client(2)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_remembered_of_clients_that_are_gone() {
        let connections = Arc::new(Connections::new(10, 2, CancellationToken::new()));
        for last in 0..100 {
            drop(connections.admit(client(last)).unwrap());
        }
        let table = connections.lock();
        assert_eq!((table.open.len(), table.by_client.len()), (0, 0));
    }
}
