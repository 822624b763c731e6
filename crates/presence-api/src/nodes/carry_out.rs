//! Calls of another node, carried out side by side.

use std::collections::HashMap;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use presence_core::{ChatPresence, PresenceSent};
use presence_wa::{ConnectError, PairWith, ShowError};
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::calls::{
    ApplySettings, Connect, Count, CountAndShow, Counted, CreateLink, LogOut, NodeCall, OpenLink, Reconnect,
    Remove, RevokeLink, Show, ShownIn,
};
use super::frame::{self, Frame, Outcome};
use crate::app::App;
use crate::clock::Time;
use crate::instances::Instances;
use crate::rate_limit::Standing;

/// Calls of one node that are carried out at the same time. Others wait in the socket.
const MAX_RUNNING: usize = 4096;
/// How often a node that sends calls is heard at least: it asks for a sign of life each second that it hears none. One
/// that is not is gone, and the network with it that would have told.
const SILENCE: Duration = Duration::from_secs(30);
/// Answers that wait to be written.
const WAITING_ANSWERS: usize = 1024;
/// The largest call.
const LONGEST_CALL: usize = 64 * 1024;

/// Carries out the calls that come on `stream`, until none will.
pub(super) async fn serve<S: AsyncRead + AsyncWrite>(app: &Arc<App>, stream: S) {
    let (reader, writer) = split(stream);
    let (answers, waiting) = mpsc::channel(WAITING_ANSWERS);
    let ended = tokio::select! {
        biased;
        ended = carry_out_all(app, reader, answers) => ended,
        ended = frame::write(writer, waiting) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "calls of another node ended");
    }
}

async fn carry_out_all<R: AsyncRead + Unpin>(
    app: &Arc<App>,
    reader: R,
    answers: mpsc::Sender<Frame>,
) -> io::Result<()> {
    let mut frames = frame::read(reader, LONGEST_CALL);
    let mut running = FuturesUnordered::new();
    let mut given_up_by: HashMap<u64, AbortHandle> = HashMap::new();
    let mut silence = interval(SILENCE);
    silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_heard = true;
    loop {
        let answer = tokio::select! {
            biased;
            Some((id, outcome)) = running.next() => {
                given_up_by.remove(&id);
                match outcome {
                    Ok(outcome) => Frame::Answer { id, outcome },
                    Err(_given_up) => continue,
                }
            }
            frame = frames.next(), if running.len() < MAX_RUNNING => {
                is_heard = true;
                match frame.transpose()? {
                    Some(Frame::Call { id, name, body }) => {
                        let (handle, registration) = AbortHandle::new_pair();
                        given_up_by.insert(id, handle);
                        let outcome = Abortable::new(carry_out(app, name, body), registration);
                        running.push(outcome.map(move |outcome| (id, outcome)));
                        continue;
                    }
                    Some(Frame::GiveUp { id }) => {
                        if let Some(handle) = given_up_by.get(&id) {
                            handle.abort();
                        }
                        continue;
                    }
                    Some(Frame::Ping) => Frame::Pong,
                    Some(Frame::Pong | Frame::Answer { .. }) => continue,
                    None => return Ok(()),
                }
            }
            _ = silence.tick() => {
                // Whoever has all that it may is not listened to.
                if !std::mem::replace(&mut is_heard, running.len() >= MAX_RUNNING) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                continue;
            }
        };
        if answers.send(answer).await.is_err() {
            return Ok(());
        }
    }
}

async fn carry_out(app: &App, name: Bytes, body: Bytes) -> Outcome {
    let Some(instances) = app.instances.get() else {
        return Outcome::Refused;
    };
    let call = Received {
        instances,
        body: &body,
    };
    let done = async {
        if name == Show::NAME {
            call.show().await
        } else if name == CountAndShow::NAME {
            call.count_and_show(app).await
        } else {
            // On the heap, because the state of the largest would be that of each.
            Box::pin(call.any(app, &name)).await
        }
    };
    let done = AssertUnwindSafe(done).catch_unwind().await;
    done.unwrap_or(Outcome::Failed)
}

/// A call of another node, and what there is here.
struct Received<'a> {
    instances: &'a Instances,
    body: &'a Bytes,
}

impl Received<'_> {
    /// Any but [`Show`] and [`CountAndShow`].
    async fn any(&self, app: &App, name: &[u8]) -> Outcome {
        let instances = self.instances;
        match str::from_utf8(name).unwrap_or_default() {
            ShownIn::NAME => {
                self.here(async |ShownIn { instance }| instances.shown_here(instance).await)
                    .await
            }
            Connect::NAME => self.connect().await,
            Reconnect::NAME => {
                self.here(async |Reconnect { instance }| instances.reconnect_here(instance).await)
                    .await
            }
            LogOut::NAME => {
                self.here(async |LogOut { instance }| instances.log_out_here(instance).await)
                    .await
            }
            Remove::NAME => {
                self.here(async |Remove { instance }| instances.remove_here(instance).await)
                    .await
            }
            ApplySettings::NAME => {
                self.here(async |ApplySettings { instance }| instances.apply_settings_here(instance).await)
                    .await
            }
            CreateLink::NAME => {
                let create = async |CreateLink { instance }| {
                    let watch = instances.watch_status(instance);
                    Some(app.pairing_links.create(instance, watch))
                };
                self.here(create).await
            }
            RevokeLink::NAME => {
                let revoke = async |RevokeLink { instance }| {
                    app.pairing_links.revoke(instance);
                    Some(())
                };
                self.here(revoke).await
            }
            OpenLink::NAME => {
                self.here(async |OpenLink { secret }| Some(app.pairing_links.open(&secret)))
                    .await
            }
            Count::NAME => {
                let count =
                    async |Count { scope, bucket }| Some(app.limits.count(scope, bucket, Time::read()));
                self.here(count).await
            }
            _ => Outcome::Refused,
        }
    }

    /// Has `here` carry the call out. It answers nothing when the instance is not this node's.
    async fn here<C: NodeCall>(&self, here: impl AsyncFnOnce(C) -> Option<C::Answer>) -> Outcome {
        let Ok(call) = serde_json::from_slice(self.body) else {
            return Outcome::Refused;
        };
        match here(call).await {
            Some(answer) => Outcome::Done(serde_json::to_vec(&answer).expect("answers are JSON").into()),
            None => Outcome::Misdirected,
        }
    }

    async fn show(&self) -> Outcome {
        self.here(async |show| self.show_here(show).await).await
    }

    /// Counts also when the instance is not here any more: who asks goes on, and counts no second time.
    async fn count_and_show(&self, app: &App) -> Outcome {
        self.here(async |CountAndShow { count, show }| {
            let standing = app.limits.count(count.scope, count.bucket, Time::read());
            let shown = match standing.filter(Standing::is_refused) {
                Some(_) => None,
                None => self.show_here(show).await,
            };
            Some(Counted { standing, shown })
        })
        .await
    }

    async fn show_here(&self, Show { instance, presence }: Show) -> Option<Result<PresenceSent, ShowError>> {
        match ChatPresence::try_from(presence) {
            Ok(presence) => self.instances.show_here(instance, &presence).await,
            // The node that sent it has checked it.
            Err(_) => Some(Err(ShowError::NotConnected)),
        }
    }

    async fn connect(&self) -> Outcome {
        self.here(async |Connect { instance, number }| {
            let how = match number.map(|number| number.parse()) {
                None => PairWith::Qr,
                Some(Ok(number)) => PairWith::LinkCode(number),
                Some(Err(_)) => return Some(Err(ConnectError::LinkCodeRefused)),
            };
            self.instances.connect_here(instance, how).await
        })
        .await
    }
}
