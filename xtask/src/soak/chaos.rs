//! Faults of every kind, at random.

use anyhow::Context;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::town::Town;

/// The codes with which WhatsApp refuses a login: unlinked (401, 403, 406), outdated (405), for now, for good.
/// A ban (402) is a fault of its own.
const FAILURES: [u16; 17] = [
    400, 401, 403, 405, 406, 409, 413, 414, 415, 418, 429, 500, 501, 502, 503, 504, 599,
];

/// Strikes a town, and remembers what does not heal by itself.
pub(super) struct Chaos<'a> {
    town: &'a Town,
    /// Instances whose connection the sandbox keeps open without reading it.
    stalled: Vec<usize>,
}

impl<'a> Chaos<'a> {
    pub(super) fn new(town: &'a Town) -> Self {
        Self {
            town,
            stalled: Vec::new(),
        }
    }

    /// Lets one thing go wrong, for one instance, or now and then for all.
    pub(super) fn strike(&mut self, rng: &mut StdRng) -> anyhow::Result<()> {
        let instance = rng.random_range(0..self.town.size());
        let number = Town::sender(instance);
        let mut fault = match rng.random_range(0..19) {
            0 | 1 => json!({ "kind": "drop" }),
            2 => json!({ "kind": "drop", "after_stanzas": rng.random_range(1..20) }),
            3 => json!({ "kind": "stream_error", "code": 503 }),
            4 => json!({ "kind": "stream_error", "code": 429, "hang_up": false }),
            5 => json!({ "kind": "stream_error", "code": 515 }),
            6 => json!({ "kind": "stream_end" }),
            7 | 8 => {
                let reason = FAILURES[rng.random_range(0..FAILURES.len())];
                self.strike_at_login(&json!({ "kind": "failure", "reason": reason }), number)?;
                return Ok(());
            }
            9 => {
                self.strike_at_login(&json!({ "kind": "failure_without_reason" }), number)?;
                return Ok(());
            }
            10 => json!({ "kind": "replaced" }),
            11 => json!({ "kind": "refuse", "times": 2 }),
            12 => json!({ "kind": "withhold", "answers": [withheld(rng)], "times": 1 }),
            13 => json!({ "kind": "delay", "answers": ["usync"], "delay_ms": 2500, "times": 1 }),
            14 => json!({ "kind": "ban", "lasts_ms": 2000 }),
            15 => {
                self.stalled.push(instance);
                json!({ "kind": "stall" })
            }
            16 => {
                self.town.unlinked(instance);
                self.town
                    .control()
                    .post_nothing(&format!("/v1/phones/{number}/unlink"))?;
                return Ok(());
            }
            17 => return self.town.panic(instance),
            _ => return self.strike_all(rng),
        };
        fault["account"] = json!(number.to_string());
        self.add(&fault)
    }

    /// Refuses the next login of an account, and makes it log in.
    fn strike_at_login(&self, refusal: &Value, number: u64) -> anyhow::Result<()> {
        let mut fault = refusal.clone();
        fault["when"] = json!("login");
        fault["times"] = json!(1);
        fault["account"] = json!(number.to_string());
        self.add(&fault)?;
        self.add(&json!({ "kind": "drop", "account": number.to_string() }))
    }

    fn strike_all(&self, rng: &mut StdRng) -> anyhow::Result<()> {
        self.add(&match rng.random_range(0..3) {
            0 => json!({ "kind": "drop" }),
            1 => json!({ "kind": "stream_error", "code": 503 }),
            _ => json!({ "kind": "refuse", "times": 50 }),
        })
    }

    fn add(&self, fault: &Value) -> anyhow::Result<()> {
        let answer = self.town.control().post("/v1/faults", fault);
        answer
            .map(drop)
            .with_context(|| format!("the sandbox did not take the fault {fault}"))
    }

    /// Ends all faults, and returns the instances whose connection will not get better by itself.
    pub(super) fn end(self) -> anyhow::Result<Vec<usize>> {
        self.town.control().delete("/v1/faults")?;
        Ok(self.stalled)
    }
}

fn withheld(rng: &mut StdRng) -> &'static str {
    ["success", "offline", "passive", "ping", "usync"][rng.random_range(0..5)]
}
