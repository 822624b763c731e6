//! Messages that peers write to sessions all the while, and whether all of them could be read in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::service::Sandbox;

/// How many peers write. Every one begins with a one-time key of the device.
const PEERS: usize = 6;
/// For how long one more message is waited for to be read. All of them take longer on a busy machine.
const READ: Duration = Duration::from_secs(60);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// How long a writer rests between two messages, at least.
const PAUSE: Duration = Duration::from_millis(15);
/// The sandbox keeps the last 1000 receipts of a phone, and a message may have several.
const MOST_A_PEER: u32 = 250;
/// How many entries of the journal are read at a time.
const PAGE: usize = 1000;

/// Those who write, and what they have written.
pub(super) struct Messages<'a> {
    sandbox: &'a Sandbox,
    /// Phone numbers; each peer writes to all of them in turn.
    recipients: Vec<u64>,
    pause: Duration,
    /// The messages that were sent, by the peer who wrote them.
    sent: Mutex<BTreeMap<usize, BTreeSet<String>>>,
}

impl<'a> Messages<'a> {
    /// Messages to `recipients` that last for about as long as `lasts`.
    pub(super) fn new(
        sandbox: &'a Sandbox,
        recipients: impl IntoIterator<Item = u64>,
        lasts: Duration,
    ) -> Self {
        Self {
            sandbox,
            recipients: recipients.into_iter().collect(),
            pause: PAUSE.max(lasts / MOST_A_PEER),
            sent: Mutex::default(),
        }
    }

    /// Has the peers write while `work` goes on.
    pub(super) fn written_during(&self, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stop = &stop;
            let writers: Vec<_> = (0..PEERS)
                .map(|nth| scope.spawn(move || self.write(nth, stop)))
                .collect();
            let worked = work();
            stop.store(true, Ordering::Relaxed);
            for writer in writers {
                writer.join().expect("a writer reports its failures")?;
            }
            worked
        })
    }

    fn write(&self, nth: usize, stop: &AtomicBool) -> anyhow::Result<()> {
        let path = format!("{}/send", peer(nth));
        for (message, recipient) in (0..MOST_A_PEER).zip(self.recipients.iter().cycle()) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let body = json!({ "to": recipient.to_string(), "text": message.to_string() });
            let answer = self.sandbox.control.post(&path, &body)?;
            let id = answer["id"].as_str().context("a message has an id")?.to_owned();
            self.sent
                .lock()
                .expect("no writer panics")
                .entry(nth)
                .or_default()
                .insert(id);
            std::thread::sleep(self.pause);
        }
        Ok(())
    }

    /// Every message has a receipt of the device that says that it could be read; how many there are, and how many
    /// had to be repeated.
    pub(super) fn check_read(&self) -> anyhow::Result<(usize, usize)> {
        self.have_all_log_in()?;
        let (mut messages, mut repeated) = (0, 0);
        let sent = self.sent.lock().expect("no writer panics");
        for (nth, ids) in &*sent {
            let unread = || -> anyhow::Result<BTreeSet<String>> {
                let receipts = self.receipts(*nth)?;
                let read = receipts
                    .iter()
                    .filter(|(_, kind)| kind != "retry")
                    .map(|(id, _)| id);
                let read: BTreeSet<_> = read.collect();
                Ok(ids.iter().filter(|id| !read.contains(id)).cloned().collect())
            };
            let (mut left, mut since) = (unread()?.len(), Instant::now());
            while left > 0 {
                ensure!(
                    since.elapsed() < READ,
                    "{left} of the {} messages of peer {nth} are not read, and none was for {} s",
                    ids.len(),
                    READ.as_secs()
                );
                std::thread::sleep(LOOK);
                let now = unread()?.len();
                if now < left {
                    (left, since) = (now, Instant::now());
                }
            }
            let receipts = self.receipts(*nth)?;
            let asked_again: BTreeSet<_> = receipts.iter().filter(|(_, kind)| kind == "retry").collect();
            messages += ids.len();
            repeated += asked_again.len();
        }
        ensure!(messages > 0, "no message was sent");
        Ok((messages, repeated))
    }

    /// Has the recipients log in once more: what the client library has dropped on its way in, unread and not
    /// acknowledged, comes again with a login only.
    fn have_all_log_in(&self) -> anyhow::Result<()> {
        for recipient in &self.recipients {
            let drop = format!("/v1/phones/{recipient}/drop");
            self.sandbox.control.post_nothing(&drop)?;
        }
        Ok(())
    }

    /// Which message, and the kind: those of linked devices, not of phones.
    fn receipts(&self, nth: usize) -> anyhow::Result<Vec<(String, String)>> {
        let got = self.sandbox.control.get(&format!("{}/messages", peer(nth)))?;
        let receipts = got["receipts"].as_array().context("a phone lists its receipts")?;
        let text = |receipt: &Value, field: &str| receipt[field].as_str().unwrap_or_default().to_owned();
        Ok(receipts
            .iter()
            .filter(|receipt| receipt["device"] != 0)
            .map(|receipt| (text(receipt, "id"), text(receipt, "kind")))
            .collect())
    }
}

/// WhatsApp has refused nothing but what is `expected`: no key was used twice, none was another than before.
pub(super) fn check_refused(sandbox: &Sandbox, expected: &[&str]) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let journal = sandbox
            .control
            .get(&format!("/v1/journal?after={after}&limit={PAGE}"))?;
        let entries = journal["entries"].as_array().context("a journal has entries")?;
        let Some(last) = entries.last() else {
            return Ok(());
        };
        for entry in entries {
            let refused = entry["refused"].as_str();
            ensure!(
                refused.is_none_or(|refused| expected.contains(&refused)),
                "the sandbox refused a stanza as {}: {}",
                entry["refused"],
                entry["stanza"]
            );
        }
        after = last["seq"].as_u64().context("an entry has a number")?;
    }
}

fn peer(nth: usize) -> String {
    format!("/v1/phones/{}", 14_155_550_100 + nth as u64)
}
