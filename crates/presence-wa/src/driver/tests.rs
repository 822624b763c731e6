//! The driver with a session that records what it is told, on a paused clock.

use super::*;
use crate::fake::{FakeSession, World, identity};
use crate::session::{MockSession, SendError, SessionState};
use presence_core::{ChatState, Hold, Indicator};
use tokio::sync::oneshot;
use tokio::task::yield_now;

const DEVICE: DeviceId = DeviceId(1);
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// A driver whose sessions a test brings up and cuts.
struct Rig {
    world: Arc<World>,
    line: watch::Sender<Line<FakeSession>>,
    inbox: mpsc::Sender<Request>,
    keep_online: watch::Sender<bool>,
    start: Instant,
}

impl Rig {
    /// With a session that is up, and what comes right after connecting already written.
    async fn connected() -> (Self, Arc<Link<FakeSession>>) {
        let (line, inbox, keep_online) = spawn_driver();
        let rig = Self {
            world: World::new(),
            line,
            inbox,
            keep_online,
            start: Instant::now(),
        };
        let link = rig.up();
        while rig.world.lock().written.is_empty() {
            yield_now().await;
        }
        (rig, link)
    }

    fn up(&self) -> Arc<Link<FakeSession>> {
        self.up_with(0)
    }

    fn up_with(&self, pairing: u32) -> Arc<Link<FakeSession>> {
        let link = Arc::new(Link::new(FakeSession::online(DEVICE, &self.world), pairing));
        self.line.send_replace(Line::Up(Arc::clone(&link)));
        link
    }

    fn cut(&self) {
        self.line.send_replace(Line::Down);
    }

    /// Waits until so many seconds after the start.
    async fn at(&self, seconds: u64) {
        sleep_until(self.start + Duration::from_secs(seconds)).await;
    }

    async fn typing(&self, number: &str, seconds: u64) -> Result<(), ShowError> {
        self.ask(number, Command::Show(Indicator::Typing, Hold::from_secs(seconds)))
            .await
    }

    async fn ask(&self, number: &str, command: Command) -> Result<(), ShowError> {
        let (request, written) = request(number, command, Instant::now() + SEND_TIMEOUT);
        self.inbox.send(request).await.unwrap();
        written.await.expect("answered")
    }

    /// The chat states that were written.
    fn shown(&self) -> String {
        let all = self.world.timeline(DEVICE, self.start);
        all.split(", ")
            .filter(|line| !line.contains("available"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn written(&self) -> String {
        self.world.timeline(DEVICE, self.start)
    }
}

type Ends<S> = (watch::Sender<Line<S>>, mpsc::Sender<Request>, watch::Sender<bool>);

fn spawn_driver<S: Session>() -> Ends<S> {
    let settings = DriverSettings {
        timing: Timing::default(),
        raise_availability: true,
        send_timeout: SEND_TIMEOUT,
    };
    let line = watch::Sender::new(Line::Down);
    let keep_online = watch::Sender::new(false);
    let (inbox, requests) = mpsc::channel(256);
    let available = Arc::default();
    let driver = Driver::new(
        DEVICE,
        settings,
        line.subscribe(),
        requests,
        keep_online.subscribe(),
        available,
    );
    tokio::spawn(driver.run());
    (line, inbox, keep_online)
}

type Answer = oneshot::Receiver<Result<(), ShowError>>;

fn request(number: &str, command: Command, deadline: Instant) -> (Request, Answer) {
    let (reply, written) = oneshot::channel();
    (
        Request {
            chat: number.parse().unwrap(),
            number: None,
            command,
            deadline,
            reply,
        },
        written,
    )
}

const ALICE: &str = "4915112345601";
const BOB: &str = "4915112345602";
const MINUTE: u64 = 60;

#[tokio::test(start_paused = true)]
async fn typing_for_five_seconds_is_paused_at_five_and_the_account_rests_ten_seconds_later() {
    let (rig, _link) = Rig::connected().await;
    rig.typing(ALICE, 5).await.unwrap();
    assert_eq!(
        rig.start.elapsed(),
        Duration::ZERO,
        "answered when written, not when over"
    );
    rig.at(5 * MINUTE).await;
    assert_eq!(
        rig.written(),
        "0 unavailable, 0 available, 0 composing 01, 5 paused 01, 15 unavailable"
    );
}

#[tokio::test(start_paused = true)]
async fn typing_for_a_minute_is_shown_without_a_gap() {
    let (rig, _link) = Rig::connected().await;
    rig.typing(ALICE, 60).await.unwrap();
    rig.at(5 * MINUTE).await;
    let renewed: Vec<_> = (0..12).map(|n| format!("{} composing 01", n * 5)).collect();
    assert_eq!(rig.shown(), renewed.join(", ") + ", 60 paused 01");
}

#[tokio::test(start_paused = true)]
async fn a_longer_typing_replaces_a_shorter_one_and_its_timer() {
    let (rig, _link) = Rig::connected().await;
    rig.typing(ALICE, 5).await.unwrap();
    rig.at(2).await;
    rig.typing(ALICE, 10).await.unwrap();
    rig.at(5 * MINUTE).await;
    assert_eq!(
        rig.shown(),
        "0 composing 01, 2 composing 01, 7 composing 01, 12 paused 01"
    );
}

#[tokio::test(start_paused = true)]
async fn after_an_explicit_pause_no_second_one_follows() {
    let (rig, _link) = Rig::connected().await;
    rig.typing(ALICE, 5).await.unwrap();
    rig.at(2).await;
    rig.ask(ALICE, Command::Pause).await.unwrap();
    rig.at(5 * MINUTE).await;
    assert_eq!(rig.shown(), "0 composing 01, 2 paused 01");
}

#[tokio::test(start_paused = true)]
async fn recording_takes_over_from_typing() {
    let (rig, _link) = Rig::connected().await;
    rig.typing(ALICE, 5).await.unwrap();
    rig.at(2).await;
    rig.ask(ALICE, Command::Show(Indicator::Recording, Hold::from_secs(5)))
        .await
        .unwrap();
    rig.at(5 * MINUTE).await;
    assert_eq!(rig.shown(), "0 composing 01, 2 recording 01, 7 paused 01");
}

#[tokio::test(start_paused = true)]
async fn an_indicator_comes_back_with_the_session_and_ends_on_time() {
    let (rig, _link) = Rig::connected().await;
    rig.typing(ALICE, 10).await.unwrap();
    rig.at(2).await;
    rig.cut();
    rig.at(4).await;
    rig.up();
    rig.at(5 * MINUTE).await;
    assert_eq!(
        rig.shown(),
        "0 composing 01, 4 composing 01, 9 composing 01, 10 paused 01"
    );
}

#[tokio::test(start_paused = true)]
async fn an_indicator_whose_time_passed_meanwhile_is_paused_on_return() {
    let (rig, _link) = Rig::connected().await;
    rig.typing(ALICE, 10).await.unwrap();
    rig.at(2).await;
    rig.cut();
    rig.at(20).await;
    rig.up();
    rig.at(5 * MINUTE).await;
    assert_eq!(rig.shown(), "0 composing 01, 20 paused 01");
}

#[tokio::test(start_paused = true)]
async fn leaving_pauses_what_is_shown_and_takes_no_more_requests() {
    let (rig, link) = Rig::connected().await;
    rig.typing(ALICE, 60).await.unwrap();
    rig.at(2).await;
    rig.line.send_replace(Line::Leaving(Arc::clone(&link)));
    link.quiet.cancelled().await;
    assert_eq!(rig.start.elapsed(), Duration::from_secs(2));
    assert_eq!(rig.typing(BOB, 5).await, Err(ShowError::NotConnected));
    rig.at(5 * MINUTE).await;
    assert_eq!(
        rig.written(),
        "0 unavailable, 0 available, 0 composing 01, 2 paused 01, 2 unavailable"
    );
}

#[tokio::test(start_paused = true)]
async fn the_next_pairing_shows_nothing_of_the_one_before() {
    let (rig, _link) = Rig::connected().await;
    rig.typing(ALICE, 60).await.unwrap();
    rig.cut();
    rig.at(2).await;
    rig.up_with(1);
    rig.at(5 * MINUTE).await;
    assert_eq!(rig.shown(), "0 composing 01");
    rig.typing(BOB, 5).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn keep_online_applies_at_once() {
    let (rig, _link) = Rig::connected().await;
    rig.at(3).await;
    rig.keep_online.send_replace(true);
    rig.at(8).await;
    rig.keep_online.send_replace(false);
    rig.at(MINUTE).await;
    assert_eq!(rig.written(), "0 unavailable, 3 available, 8 unavailable");
}

#[tokio::test(start_paused = true)]
async fn without_a_session_a_request_is_refused_at_once() {
    let (rig, _link) = Rig::connected().await;
    rig.cut();
    assert_eq!(rig.typing(ALICE, 5).await, Err(ShowError::NotConnected));
    assert_eq!(rig.start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_takes_nothing_is_faulty_after_the_send_timeout() {
    let (rig, link) = Rig::connected().await;
    rig.world.lock().stalled.push(DEVICE);
    assert_eq!(rig.typing(ALICE, 60).await, Err(ShowError::NotConnected));
    assert_eq!(rig.start.elapsed(), SEND_TIMEOUT);
    assert!(link.faulty.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_command_that_was_refused_is_not_carried_out_by_the_next_session() {
    let (rig, _link) = Rig::connected().await;
    // The first stalls before its own stanza, at the availability; the second at its stanza.
    rig.world.lock().stalled.push(DEVICE);
    assert_eq!(rig.typing(ALICE, 60).await, Err(ShowError::NotConnected));
    rig.world.lock().stalled.clear();
    rig.up();
    rig.typing(BOB, 1).await.unwrap();
    rig.world.lock().stalled.push(DEVICE);
    assert_eq!(rig.typing(ALICE, 60).await, Err(ShowError::NotConnected));
    rig.world.lock().stalled.clear();
    rig.up();
    rig.at(5 * MINUTE).await;
    assert!(!rig.shown().contains("composing 01"), "{}", rig.shown());
}

#[tokio::test(start_paused = true)]
async fn a_stalled_send_is_given_up_when_the_session_ends() {
    let (rig, link) = Rig::connected().await;
    rig.world.lock().stalled.push(DEVICE);
    let (request, written) = request(ALICE, Command::Pause, Instant::now() + SEND_TIMEOUT);
    rig.inbox.send(request).await.unwrap();
    rig.at(1).await;
    link.session.end(crate::session::End::Lost("cut".into()));
    assert_eq!(written.await.unwrap(), Err(ShowError::NotConnected));
    assert_eq!(rig.start.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waited_too_long_is_not_carried_out() {
    let (rig, link) = Rig::connected().await;
    rig.world.lock().stalled.push(DEVICE);
    let now = Instant::now();
    let (first, _first) = request(ALICE, Command::Pause, now + SEND_TIMEOUT);
    let (late, _late) = request(
        BOB,
        Command::Show(Indicator::Typing, None),
        now + Duration::from_secs(1),
    );
    let (left, left_answer) = request(
        BOB,
        Command::Show(Indicator::Recording, None),
        now + SEND_TIMEOUT * 9,
    );
    for request in [first, late, left] {
        rig.inbox.send(request).await.unwrap();
    }
    drop(left_answer);
    rig.at(2).await;
    link.session.end(crate::session::End::Lost("cut".into()));
    rig.world.lock().stalled.clear();
    rig.up();
    rig.at(MINUTE).await;
    assert!(!rig.shown().contains("02"), "{}", rig.shown());
}

#[tokio::test(start_paused = true)]
async fn a_busy_inbox_does_not_starve_deadlines() {
    let (rig, _link) = Rig::connected().await;
    rig.typing(ALICE, 5).await.unwrap();
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let (request, written) = request(BOB, Command::Pause, Instant::now() + SEND_TIMEOUT * 2);
        rig.inbox.try_send(request).unwrap();
        waiting.push(written);
    }
    // No task runs between the two: the driver finds a full inbox and a deadline that has come.
    tokio::time::advance(Duration::from_secs(5)).await;
    rig.at(6).await;
    let shown = rig.shown();
    let before = shown.split("paused 01").next().unwrap().matches("02").count();
    assert!(before <= 1, "{before} requests went before the deadline");
}

#[tokio::test(start_paused = true)]
async fn a_hold_survives_a_resend_that_failed() {
    let (rig, link) = Rig::connected().await;
    rig.typing(ALICE, 60).await.unwrap();
    rig.at(4).await;
    rig.world.lock().stalled.push(DEVICE);
    link.faulty.cancelled().await;
    assert_eq!(
        rig.start.elapsed(),
        Duration::from_secs(10),
        "the re-send at 5 s took the send timeout"
    );
    rig.world.lock().stalled.clear();
    rig.at(12).await;
    rig.up();
    rig.at(13).await;
    assert_eq!(rig.shown(), "0 composing 01, 12 composing 01");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_could_not_be_written_is_made_up_for() {
    let (rig, link) = Rig::connected().await;
    rig.typing(ALICE, 3).await.unwrap();
    rig.at(2).await;
    rig.world.lock().stalled.push(DEVICE);
    link.faulty.cancelled().await;
    rig.world.lock().stalled.clear();
    rig.at(9).await;
    rig.up();
    rig.at(5 * MINUTE).await;
    assert_eq!(rig.shown(), "0 composing 01, 9 paused 01");
}

fn mock_online() -> (MockSession, watch::Sender<SessionState>) {
    let state = watch::Sender::new(SessionState::Online(identity(DEVICE)));
    let receiver = state.subscribe();
    let mut session = MockSession::new();
    session.expect_state().return_once(move || receiver);
    (session, state)
}

#[tokio::test(start_paused = true)]
async fn an_availability_refused_for_want_of_a_name_is_told_when_the_name_is_known() {
    let (mut session, _state) = mock_online();
    let (told, mut availabilities) = mpsc::unbounded_channel();
    let mut named = false;
    session.expect_set_availability().returning(move |availability| {
        told.send((availability, named)).unwrap();
        let result = if named { Ok(()) } else { Err(SendError::NoPushName) };
        named = true;
        Box::pin(async { result })
    });
    let (line, _inbox, _keep) = spawn_driver();
    let link = Arc::new(Link::new(session, 0));
    line.send_replace(Line::Up(Arc::clone(&link)));
    assert_eq!(
        availabilities.recv().await,
        Some((Availability::Unavailable, false))
    );
    yield_now().await;
    line.send_replace(Line::Up(Arc::clone(&link)));
    assert_eq!(
        availabilities.recv().await,
        Some((Availability::Unavailable, true))
    );
    assert!(!link.faulty.is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_client_error_makes_the_session_faulty_and_the_request_fail() {
    let (mut session, _state) = mock_online();
    session
        .expect_set_availability()
        .returning(|_| Box::pin(async { Ok(()) }));
    session
        .expect_send_chat_state()
        .times(1)
        .withf(|_, state| *state == ChatState::Composing)
        .returning(|_, _| Box::pin(async { Err(SendError::Client("broken pipe".into())) }));
    let (line, inbox, _keep) = spawn_driver();
    let link = Arc::new(Link::new(session, 0));
    line.send_replace(Line::Up(Arc::clone(&link)));
    let command = Command::Show(Indicator::Typing, Hold::from_secs(5));
    let (request, written) = request(ALICE, command, Instant::now() + SEND_TIMEOUT);
    inbox.send(request).await.unwrap();
    assert_eq!(written.await.unwrap(), Err(ShowError::NotConnected));
    assert!(link.faulty.is_cancelled());
}
