//! Keeps the log of refused requests readable: one line a minute for each cause, which says how many there were.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::error::ApiError;

/// Which requests are told of together: by route and by the text of the answer.
type Cause = (&'static str, String);

/// Tells of requests that were answered with 4xx. The first of a cause is told at once; those that follow are counted,
/// and told when a minute is over.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog(Mutex<HashMap<Cause, Refused>>);

/// What is known of a cause since it was told last.
#[derive(Debug)]
struct Refused {
    told: Instant,
    requests: u64,
    last: Option<Request>,
}

/// One of the requests: a place to begin to look.
#[derive(Clone, Debug)]
struct Request {
    status: StatusCode,
    detail: Option<String>,
    client: IpAddr,
}

/// How long a cause is not told again.
const PERIOD: Duration = Duration::from_secs(60);
/// How often it is looked for those whose time is over.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Causes that are told apart. There are fewer, as long as their texts are our own.
const MOST: usize = 512;

impl RefusalLog {
    /// Notes a request of `client` that failed with `error`. What is no 4xx, or no fault of the client's, is no
    /// refusal.
    pub(crate) fn note(&self, route: &'static str, client: IpAddr, error: &ApiError) {
        let (status, text) = error.answer();
        if !status.is_client_error() || matches!(error, ApiError::ClientGone) {
            return;
        }
        let request = Request {
            status,
            detail: error.detail().map(Into::into),
            client,
        };
        if let Some(first) = self.count((route, text.clone()), request, Instant::now()) {
            first.tell(route, &text, 1);
        }
    }

    /// Tells what is due, for as long as it runs.
    pub(crate) async fn tell_by_the_minute(&self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for ((route, text), requests, last) in self.due(Instant::now()) {
                last.tell(route, &text, requests);
            }
        }
    }

    /// Counts a request, and returns it when it is to be told now.
    fn count(&self, cause: Cause, request: Request, now: Instant) -> Option<Request> {
        let mut causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refused) = causes.get_mut(&cause) {
            refused.requests += 1;
            refused.last = Some(request);
            return None;
        }
        if causes.len() < MOST {
            let refused = Refused {
                told: now,
                requests: 0,
                last: None,
            };
            causes.insert(cause, refused);
        }
        Some(request)
    }

    /// What is to be told now. Causes that did not come again are forgotten.
    fn due(&self, now: Instant) -> Vec<(Cause, u64, Request)> {
        let mut due = Vec::new();
        let mut causes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        causes.retain(|cause, refused| {
            if now < refused.told + PERIOD {
                return true;
            }
            let Some(last) = refused.last.take() else {
                return false;
            };
            due.push((cause.clone(), std::mem::take(&mut refused.requests), last));
            refused.told = now;
            true
        });
        due
    }
}

impl Request {
    fn tell(&self, route: &str, reason: &str, requests: u64) {
        let Self {
            status,
            detail,
            client,
        } = self;
        let status = status.as_u16();
        tracing::warn!(
            route,
            status,
            reason,
            detail,
            %client,
            requests,
            "requests were refused; the last one came from this client"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(client: u8) -> Request {
        Request {
            status: StatusCode::NOT_FOUND,
            detail: None,
            client: [127, 0, 0, client].into(),
        }
    }

    fn cause(text: &str) -> Cause {
        ("list", text.to_owned())
    }

    #[test]
    fn a_cause_is_told_at_once_and_then_by_the_minute_with_how_many() {
        let (log, start) = (RefusalLog::default(), Instant::now());
        assert!(log.count(cause("a"), request(1), start).is_some());
        for client in 2..40 {
            assert!(log.count(cause("a"), request(client), start).is_none());
        }
        assert!(log.count(cause("b"), request(1), start).is_some());
        assert!(log.due(start + PERIOD / 2).is_empty());
        let due = log.due(start + PERIOD);
        assert_eq!(due.len(), 1);
        let (told, requests, last) = &due[0];
        assert_eq!(
            (told, *requests, last.client),
            (&cause("a"), 38, request(39).client)
        );
        // One that came no more begins anew; one that was just told does not.
        assert!(log.count(cause("b"), request(1), start + PERIOD).is_some());
        assert!(log.count(cause("a"), request(1), start + PERIOD).is_none());
        assert_eq!(log.due(start + 2 * PERIOD).len(), 1);
        assert!(log.due(start + 3 * PERIOD).is_empty());
        assert!(log.count(cause("a"), request(1), start + 3 * PERIOD).is_some());
    }

    #[test]
    fn no_flood_of_causes_fills_the_memory() {
        let (log, start) = (RefusalLog::default(), Instant::now());
        for number in 0..2 * MOST {
            assert!(log.count(cause(&number.to_string()), request(1), start).is_some());
        }
        assert_eq!(log.0.lock().unwrap().len(), MOST);
    }
}
