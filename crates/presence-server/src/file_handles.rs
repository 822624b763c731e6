//! File handles: as many as the system allows, with a reserve for sessions, and a warning before they run out.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use presence_api::{Finding, HealthCheck};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::spawn_blocking;
use tokio::time::interval;

/// How many file handles this process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHandles {
    /// `None` is no limit.
    limit: Option<u64>,
}

/// How often the log is told that few are left.
const WARN_EVERY: Duration = Duration::from_secs(60);

impl FileHandles {
    /// Raises the limit as far as the system lets us: shells commonly give 1024, and each session takes one.
    pub(crate) fn raise() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => Self { limit: maximum },
            Err(error) => {
                tracing::warn!(%error, limit = current, "the limit of file handles cannot be raised");
                Self { limit: current }
            }
        }
    }

    /// How many connections clients may have, of `wanted`: at most half of all handles, so that sessions and
    /// files have the other half.
    pub(crate) fn connections(self, wanted: usize) -> usize {
        let most = self.limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit / 2).unwrap_or(usize::MAX)
        });
        let connections = wanted.min(most).max(1);
        if connections < wanted {
            tracing::warn!(
                connections,
                wanted,
                "fewer connections than configured: the system allows too few file handles"
            );
        }
        connections
    }

    /// Says in the log, once a minute, that few are left. Does not end.
    pub(crate) async fn tell_when_short(self) {
        let mut looks = interval(WARN_EVERY);
        loop {
            looks.tick().await;
            if let Finding::Warning(text) | Finding::Failed(text) = self.check().await {
                tracing::warn!("{text}");
            }
        }
    }

    fn finding(self, open: u64) -> Finding {
        let Some(limit) = self.limit else {
            return Finding::Ok;
        };
        let text = || format!("few file handles left: {open} of {limit} are open");
        match u128::from(open) * 100 / u128::from(limit.max(1)) {
            98.. => Finding::Failed(text()),
            90.. => Finding::Warning(text()),
            _ => Finding::Ok,
        }
    }
}

#[async_trait]
impl HealthCheck for FileHandles {
    fn name(&self) -> &'static str {
        "files"
    }

    async fn check(&self) -> Finding {
        match spawn_blocking(open_handles).await {
            Ok(Ok(open)) => self.finding(open),
            // There is not even one left to count them with.
            Ok(Err(_)) | Err(_) => Finding::Warning("file handles cannot be counted".to_owned()),
        }
    }
}

/// How many are open now, without the one that counts them.
fn open_handles() -> io::Result<u64> {
    let entries = std::fs::read_dir("/dev/fd")?.count();
    Ok(u64::try_from(entries).unwrap_or(u64::MAX).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tenth_is_a_warning_and_the_last_fiftieth_a_failure() {
        let rows = [
            (Some(1000), 0, "ok", false),
            (Some(1000), 899, "ok", false),
            (
                Some(1000),
                900,
                "few file handles left: 900 of 1000 are open",
                false,
            ),
            (
                Some(1000),
                980,
                "few file handles left: 980 of 1000 are open",
                true,
            ),
            (Some(0), 0, "ok", false),
            (Some(u64::MAX), 1 << 60, "ok", false),
            (None, u64::MAX, "ok", false),
        ];
        for (limit, open, text, failure) in rows {
            let finding = FileHandles { limit }.finding(open);
            assert_eq!(
                (finding.as_str(), finding.is_failure()),
                (text, failure),
                "{open}"
            );
        }
    }

    #[test]
    fn connections_take_half_at_most() {
        let rows = [
            (Some(1024), 1024, 512),
            (Some(1024), 100, 100),
            (Some(1), 5, 1),
            (None, 65_536, 65_536),
        ];
        for (limit, wanted, expected) in rows {
            assert_eq!(FileHandles { limit }.connections(wanted), expected);
        }
    }

    #[test]
    fn the_limit_is_raised_as_far_as_the_system_lets_us() {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let lowered = Rlimit {
            current: current.map(|limit| limit.min(1000)),
            maximum,
        };
        setrlimit(Resource::Nofile, lowered).unwrap();
        assert_eq!(FileHandles::raise(), FileHandles { limit: maximum });
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }

    #[test]
    fn open_handles_are_counted() {
        let before = open_handles().unwrap();
        let files: Vec<_> = (0..50)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        // Other tests open and close some meanwhile.
        assert!(open_handles().unwrap() + 25 > before + 50);
        drop(files);
    }
}
