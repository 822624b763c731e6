//! The jobs of an instance, carried out: each is one bounded future.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use presence_core::InstanceId;
use tokio::time::{Instant, timeout};
use tracing::{error, warn};

use super::job::{Job, JobDone};
use crate::context::FleetContext;
use crate::login_limiter::LoginTurn;
use crate::session::{KeysError, Session};

/// How a job ended, and what it brought.
pub(super) enum JobEnd {
    /// Nothing but that it ended.
    Plain(JobDone),
    /// [`Job::TakeTurn`].
    Turn(LoginTurn),
    /// [`Job::Open`].
    Opened(Box<dyn Session>),
    /// [`Job::Close`] and [`Job::Unlink`].
    Closed,
}

/// What a job needs.
#[derive(Clone)]
pub(super) struct JobContext {
    pub(super) instance: InstanceId,
    pub(super) fleet: Arc<FleetContext>,
    pub(super) session: Option<Arc<dyn Session>>,
}

/// Begins `job`. [`Job::SayFarewell`] is the task's own, since the task writes the stanzas.
pub(super) fn begin(job: Job, context: JobContext) -> BoxFuture<'static, JobEnd> {
    Box::pin(async move {
        let JobContext {
            instance,
            fleet,
            session,
        } = context;
        let settings = &fleet.settings;
        let close_timeout = settings.close_timeout;
        match job {
            Job::TakeTurn(priority) => JobEnd::Turn(fleet.logins.turn(priority).await),
            Job::LoadKeys => {
                let loaded = within(settings.login_timeout, fleet.connector.saved(instance)).await;
                JobEnd::Plain(loaded.map_or(JobDone::Failed, JobDone::Loaded))
            }
            Job::Open => match within(settings.login_timeout, fleet.connector.open(instance)).await {
                Some(session) => JobEnd::Opened(session),
                None => JobEnd::Plain(JobDone::Failed),
            },
            Job::RecordPairing => recorded("a pairing", fleet.record.pairing(instance)).await,
            Job::RecordLogout => recorded("a logout", fleet.record.logged_out(instance)).await,
            Job::RecordBan(until) => {
                let lasts = until.map(|until| until.saturating_duration_since(Instant::now()));
                recorded("a ban", fleet.record.banned(instance, lasts)).await
            }
            Job::WipeKeys => {
                let _turn = fleet.wipes.acquire().await;
                let wiped = within(WIPE_TIMEOUT, fleet.connector.wipe(instance)).await;
                JobEnd::Plain(wiped.map_or(JobDone::Failed, |()| JobDone::Done))
            }
            Job::RefreshVersion => {
                let refresh = fleet.connector.refresh_version(instance);
                JobEnd::Plain(match timeout(settings.login_timeout, refresh).await {
                    Ok(Ok(changed)) => JobDone::Refreshed(changed),
                    Ok(Err(error)) => {
                        warn!(
                            error = &error as &dyn std::error::Error,
                            "the client version could not be looked up"
                        );
                        JobDone::Failed
                    }
                    Err(_) => {
                        warn!("the client version could not be looked up in time");
                        JobDone::Failed
                    }
                })
            }
            Job::Unlink => {
                if let Some(session) = session {
                    let limit = settings.unlink_timeout;
                    let unlinked = timeout(limit + close_timeout, session.logout(limit)).await;
                    if unlinked.is_err() {
                        warn!("unlinking took too long");
                    }
                    close(&*session, close_timeout).await;
                }
                JobEnd::Closed
            }
            Job::Close => {
                if let Some(session) = session {
                    close(&*session, close_timeout).await;
                }
                JobEnd::Closed
            }
            Job::SayFarewell => JobEnd::Plain(JobDone::Done),
        }
    })
}

/// The longest that keys may take to be wiped.
const WIPE_TIMEOUT: Duration = Duration::from_secs(60);

async fn close(session: &dyn Session, limit: Duration) {
    if timeout(limit, session.close()).await.is_err() {
        warn!("closing the session took too long");
    }
}

async fn recorded(
    what: &str,
    record: impl Future<Output = Result<(), crate::pairing_record::PairingRecordError>>,
) -> JobEnd {
    let done = match timeout(RECORD_TIMEOUT, record).await {
        Ok(Ok(())) => JobDone::Done,
        Ok(Err(error)) => {
            error!(
                error = &*error as &dyn std::error::Error,
                "{what} could not be recorded"
            );
            JobDone::Failed
        }
        Err(_) => {
            error!("{what} could not be recorded in time");
            JobDone::Failed
        }
    };
    JobEnd::Plain(done)
}

/// The longest that the registry may take to write. SQLite itself gives up a lock after 5 s.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);

/// Work on the device keys, whose failure is logged here.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, KeysError>>) -> Option<T> {
    match timeout(limit, work).await {
        Ok(Ok(done)) => Some(done),
        Ok(Err(error)) => {
            error!(error = &error as &dyn std::error::Error, "device keys failed");
            None
        }
        Err(_) => {
            error!("device keys took too long");
            None
        }
    }
}
