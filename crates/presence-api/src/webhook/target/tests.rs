//! Deliveries on a paused clock, to a receiver that answers as it is told.

use std::sync::Mutex;

use tokio::sync::mpsc;

use super::*;

/// Answers with what is next, or for ever with the last; nothing is no answer at all.
struct Receiver {
    answers: Mutex<Vec<Option<u16>>>,
    calls: mpsc::UnboundedSender<(Instant, Request<Full<Bytes>>)>,
}

#[async_trait::async_trait]
impl Post for Receiver {
    async fn post(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, BoxError> {
        self.calls.send((Instant::now(), request)).unwrap();
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers[0]
            }
        };
        match answer {
            Some(0) => Err(ForbiddenAddress.into()),
            Some(1) => Err("the connection broke".into()),
            Some(status) => Ok(StatusCode::from_u16(status).unwrap()),
            None => std::future::pending().await,
        }
    }
}

type Calls = mpsc::UnboundedReceiver<(Instant, Request<Full<Bytes>>)>;

fn target(answers: &[Option<u16>]) -> (Target, Calls, Arc<WebhookCounters>) {
    let (calls, seen) = mpsc::unbounded_channel();
    let receiver = Receiver {
        answers: Mutex::new(answers.to_vec()),
        calls,
    };
    let webhook = Webhook {
        url: "https://example.com/hook".parse().unwrap(),
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap(),
    };
    let counters = Arc::<WebhookCounters>::default();
    let target = Target::over(webhook, "acme".into(), Box::new(receiver), Arc::clone(&counters));
    (target, seen, counters)
}

fn message() -> Message {
    Message {
        id: "msg_1".into(),
        body: "{}".into(),
    }
}

fn counts(counters: &WebhookCounters) -> Vec<(&'static str, u64)> {
    let counted = counters.iter().filter(|(_, count)| count.get() > 0);
    counted
        .map(|(delivery, count)| (delivery.as_str(), count.get()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_call_is_signed_and_its_id_stays_over_attempts() {
    let (target, mut calls, counters) = target(&[Some(500), Some(302), Some(204)]);
    target.deliver(message()).await;
    for _ in 0..3 {
        let (_, call) = calls.recv().await.unwrap();
        let field = |name: &str| call.headers()[name].to_str().unwrap().to_owned();
        let timestamp: i64 = field("webhook-timestamp").parse().unwrap();
        assert_eq!(field("webhook-id"), "msg_1");
        assert_eq!(
            field("webhook-signature"),
            target.webhook.secret.sign("msg_1", timestamp, b"{}")
        );
        assert_eq!(field("content-type"), "application/json");
        assert_eq!(call.uri(), "https://example.com/hook");
    }
    assert!(calls.try_recv().is_err());
    assert_eq!(counts(&counters), [("delivered", 1), ("refused", 2)]);
}

#[tokio::test(start_paused = true)]
async fn waits_grow_and_a_message_is_given_up_after_a_day() {
    let (target, mut calls, counters) = target(&[Some(500)]);
    let begun = Instant::now();
    target.deliver(message()).await;
    assert!(begun.elapsed() <= GIVE_UP_AFTER && begun.elapsed() > GIVE_UP_AFTER / 2);
    let mut before = calls.recv().await.unwrap().0;
    for attempt in 0..20 {
        let at = calls.recv().await.unwrap().0;
        let longest = (Duration::from_secs(2) * (1 << attempt.min(16))).min(Duration::from_secs(600));
        let wait = at - before;
        assert!(
            longest / 2 <= wait && wait <= longest + Duration::from_millis(2),
            "{attempt}: {wait:?}"
        );
        before = at;
    }
    assert_eq!(counters[Delivery::Dropped].get(), 1);
    assert_eq!(counters[Delivery::Delivered].get(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_is_told_apart() {
    let answers = [None, Some(0), Some(1), Some(404), Some(200)];
    let (target, mut calls, counters) = target(&answers);
    let begun = Instant::now();
    target.deliver(message()).await;
    assert_eq!(
        counts(&counters),
        [
            ("delivered", 1),
            ("refused", 1),
            ("timed_out", 1),
            ("unreachable", 1),
            ("forbidden", 1)
        ]
    );
    assert_eq!(calls.recv().await.unwrap().0, begun);
    assert!(
        calls.recv().await.unwrap().0 >= begun + TIMEOUT,
        "the first was given up"
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_gets_a_few_calls_at_a_time() {
    let (target, mut calls, _) = target(&[None]);
    let deliveries = (0..100).map(|_| target.deliver(message()));
    let all = futures_util::future::join_all(deliveries);
    assert!(timeout(TIMEOUT / 2, all).await.is_err());
    let mut under_way = 0;
    while calls.try_recv().is_ok() {
        under_way += 1;
    }
    assert_eq!(under_way, AT_A_TIME);
}
