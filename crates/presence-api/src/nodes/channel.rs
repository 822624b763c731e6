//! The connection to another node that calls go over.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::client::Unanswered;
use super::frame::{self, Frame, Outcome};

/// Frames that wait to be written. Whoever calls waits for room.
const WAITING_FRAMES: usize = 1024;
/// The largest answer: all that an instance shows in 65,536 chats.
const LONGEST_ANSWER: usize = 32 << 20;
/// How long the other node may say nothing until it is asked for a sign of life, and as long again.
const QUIET: Duration = Duration::from_secs(1);
/// After how many such times without one it is given up: it hangs, or the network is cut.
const GIVEN_UP_AFTER: u32 = 3;

/// A connection to another node. Cheap to clone; it is closed when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Channel {
    frames: mpsc::Sender<Frame>,
    calls: Arc<Calls>,
}

/// The calls that wait for their answers.
#[derive(Default)]
struct Calls(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    next: u64,
    answers: HashMap<u64, oneshot::Sender<Outcome>>,
    is_closed: bool,
}

impl Channel {
    /// Speaks with the node at the other end of `stream`.
    pub(super) fn over<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (frames, waiting) = mpsc::channel(WAITING_FRAMES);
        let calls = Arc::<Calls>::default();
        // Weak, so that the channel ends with its last user.
        let (listening, pings) = (Arc::clone(&calls), frames.downgrade());
        tokio::spawn(async move {
            let (reader, writer) = split(stream);
            let ended = tokio::select! {
                biased;
                ended = listen(reader, &listening, &pings) => ended,
                ended = frame::write(writer, waiting) => ended,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to another node ended");
            }
            listening.close();
        });
        Self { frames, calls }
    }

    /// Whether it ended: nothing is answered on it any more.
    pub(super) fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }

    /// Returns when it has ended.
    pub(super) async fn closed(&self) {
        self.frames.closed().await;
    }

    /// Has the other node carry out the call of this name. Dropped before there is an answer, it is given up there.
    pub(super) async fn ask(&self, name: &'static str, body: Bytes) -> Result<Bytes, Unanswered> {
        let (call, answer) = Call::begin(self)?;
        let frame = Frame::Call {
            id: call.id,
            name: Bytes::from_static(name.as_bytes()),
            body,
        };
        if self.frames.send(frame).await.is_err() {
            return Err(Unanswered::NotReached);
        }
        match answer.await {
            Ok(Outcome::Done(answer)) => Ok(answer),
            Ok(Outcome::Misdirected) => Err(Unanswered::Misdirected),
            Ok(Outcome::Refused) => Err(Unanswered::Refused),
            Ok(Outcome::Failed) | Err(_) => Err(Unanswered::Unknown),
        }
    }
}

/// A call that waits for its answer.
struct Call<'a> {
    id: u64,
    channel: &'a Channel,
}

impl<'a> Call<'a> {
    fn begin(channel: &'a Channel) -> Result<(Self, oneshot::Receiver<Outcome>), Unanswered> {
        let mut waiting = channel.calls.lock();
        if waiting.is_closed {
            return Err(Unanswered::NotReached);
        }
        let (send, answer) = oneshot::channel();
        let id = waiting.next;
        waiting.next += 1;
        waiting.answers.insert(id, send);
        Ok((Self { id, channel }, answer))
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Self { id, channel } = *self;
        if channel.calls.lock().answers.remove(&id).is_some() {
            // Without room for it, the node does a little for nothing.
            let _ = channel.frames.try_send(Frame::GiveUp { id });
        }
    }
}

impl Calls {
    fn answer(&self, id: u64, outcome: Outcome) {
        let answer = self.lock().answers.remove(&id);
        if let Some(answer) = answer {
            // Whoever asked may be gone.
            let _ = answer.send(outcome);
        }
    }

    fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.answers.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands answers to those who wait for them, until the other node is heard of no longer.
async fn listen<R: AsyncRead + Unpin>(
    reader: R,
    calls: &Calls,
    pings: &mpsc::WeakSender<Frame>,
) -> io::Result<()> {
    let mut frames = frame::read(reader, LONGEST_ANSWER);
    let mut quiet = interval(QUIET);
    quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent_for = 0;
    loop {
        tokio::select! {
            biased;
            frame = frames.next() => {
                silent_for = 0;
                match frame.transpose()? {
                    Some(Frame::Answer { id, outcome }) => calls.answer(id, outcome),
                    Some(_) => {}
                    None => return Ok(()),
                }
            }
            _ = quiet.tick() => {
                if silent_for > GIVEN_UP_AFTER {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                if silent_for > 0 && let Some(pings) = pings.upgrade() {
                    let _ = pings.try_send(Frame::Ping);
                }
                silent_for += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::SinkExt as _;
    use tokio::io::DuplexStream;
    use tokio::time::{Instant, sleep};
    use tokio_util::codec::Framed;

    use super::*;
    use crate::nodes::frame::Frames;

    /// A channel, and what the other node reads and writes.
    fn open() -> (Channel, Framed<DuplexStream, Frames>) {
        let (near, far) = tokio::io::duplex(1024);
        (Channel::over(near), Framed::new(far, Frames::default()))
    }

    fn answer(id: u64, outcome: Outcome) -> Frame {
        Frame::Answer { id, outcome }
    }

    async fn calls(far: &mut Framed<DuplexStream, Frames>, count: usize) -> Vec<(u64, Bytes)> {
        let mut calls = Vec::new();
        while calls.len() < count {
            match far.next().await.unwrap().unwrap() {
                Frame::Call { id, name, body } => {
                    assert_eq!(name, "echo");
                    calls.push((id, body));
                }
                frame => panic!("{frame:?} is no call"),
            }
        }
        calls
    }

    #[tokio::test]
    async fn answers_come_in_any_order_and_to_whoever_asked() {
        let (channel, mut far) = open();
        let ask = |body: &'static str| channel.ask("echo", body.into());
        let other_node = async {
            for (id, body) in calls(&mut far, 3).await.into_iter().rev() {
                far.send(answer(id, Outcome::Done(body))).await.unwrap();
            }
        };
        let (one, two, three, ()) = tokio::join!(ask("1"), ask("2"), ask("3"), other_node);
        assert_eq!([one, two, three].map(Result::unwrap), ["1", "2", "3"]);
        assert!(channel.calls.lock().answers.is_empty());
    }

    #[tokio::test]
    async fn what_was_not_done_is_told_from_what_may_have_been() {
        let (channel, mut far) = open();
        for (outcome, why) in [
            (Outcome::Misdirected, Unanswered::Misdirected),
            (Outcome::Refused, Unanswered::Refused),
            (Outcome::Failed, Unanswered::Unknown),
        ] {
            let other_node = async {
                let (id, _) = calls(&mut far, 1).await.remove(0);
                far.send(answer(id, outcome)).await.unwrap();
            };
            let (asked, ()) = tokio::join!(channel.ask("echo", Bytes::new()), other_node);
            assert_eq!(asked.unwrap_err(), why);
        }
        let other_node = async {
            calls(&mut far, 1).await;
            drop(far);
        };
        let (asked, ()) = tokio::join!(channel.ask("echo", Bytes::new()), other_node);
        assert_eq!(asked.unwrap_err(), Unanswered::Unknown);
        let asked = channel.ask("echo", Bytes::new()).await;
        assert_eq!(asked.unwrap_err(), Unanswered::NotReached);
        assert!(channel.is_closed());
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_is_given_up() {
        let (channel, mut far) = open();
        let id = tokio::select! {
            _ = channel.ask("echo", Bytes::new()) => panic!("nobody answered"),
            called = calls(&mut far, 1) => called[0].0,
        };
        assert_eq!(far.next().await.unwrap().unwrap(), Frame::GiveUp { id });
        // Its answer may be on its way already.
        far.send(answer(id, Outcome::Misdirected)).await.unwrap();
        let other_node = async {
            let (id, body) = calls(&mut far, 1).await.remove(0);
            far.send(answer(id, Outcome::Done(body))).await.unwrap();
        };
        let (asked, ()) = tokio::join!(channel.ask("echo", "next".into()), other_node);
        assert_eq!(asked.unwrap(), "next");

        drop(channel);
        assert!(far.next().await.is_none(), "it is closed with its last user");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_silent_is_given_up_and_one_that_is_slow_is_not() {
        let (channel, mut far) = open();
        let slow = async {
            let (id, _) = calls(&mut far, 1).await.remove(0);
            let answer_at = Instant::now() + Duration::from_secs(60);
            while Instant::now() < answer_at {
                assert_eq!(far.next().await.unwrap().unwrap(), Frame::Ping);
                far.send(Frame::Pong).await.unwrap();
            }
            far.send(answer(id, Outcome::Done(Bytes::new()))).await.unwrap();
        };
        let (asked, ()) = tokio::join!(channel.ask("echo", Bytes::new()), slow);
        asked.unwrap();

        let start = Instant::now();
        let asked = channel.ask("echo", Bytes::new()).await;
        assert_eq!(asked.unwrap_err(), Unanswered::Unknown);
        let took = start.elapsed();
        assert!(QUIET * 3 <= took && took <= QUIET * 5, "{took:?}");
        sleep(QUIET).await;
        assert!(channel.is_closed());
    }
}
