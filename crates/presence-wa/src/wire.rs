//! How values travel to another node of a cluster, whose clock is another one.

/// A moment, as the milliseconds from now to it. How long it was on its way is not counted.
pub(crate) mod instant {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tokio::time::Instant;

    pub(crate) fn serialize<S: Serializer>(moment: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
        let now = Instant::now();
        let ahead = millis(moment.saturating_duration_since(now));
        let behind = millis(now.saturating_duration_since(*moment));
        (ahead - behind).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Instant, D::Error> {
        let from_now = i64::deserialize(deserializer)?;
        let (now, distance) = (Instant::now(), Duration::from_millis(from_now.unsigned_abs()));
        let moment = if from_now < 0 {
            now.checked_sub(distance)
        } else {
            now.checked_add(distance)
        };
        // A process that began after it knows no earlier moment.
        Ok(moment.unwrap_or(now))
    }

    fn millis(duration: Duration) -> i64 {
        i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, advance};

    use crate::proxy::ProxyFault;
    use crate::status::{InstanceState, InstanceStatus, Reason};

    #[tokio::test(start_paused = true)]
    async fn a_status_arrives_as_it_was_with_its_times_counted_from_its_arrival() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        advance(10 * second).await;
        let status = |since, next| InstanceStatus {
            state: InstanceState::Connecting,
            reason: Some(Reason::ProxyFailed {
                fault: ProxyFault::Credentials,
                next,
            }),
            since,
            jid: Some("4915112345601@s.whatsapp.net".to_owned()),
            push_name: None,
            available: false,
        };
        let text = serde_json::to_string(&status(start, start + 15 * second)).unwrap();
        advance(3 * second).await;
        let arrived: InstanceStatus = serde_json::from_str(&text).unwrap();
        assert_eq!(arrived, status(start + 3 * second, start + 18 * second));
    }
}
