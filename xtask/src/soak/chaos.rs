//! Faults of every kind, at random.

use anyhow::Context;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::town::Town;

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
        let mut fault = match rng.random_range(0..18) {
            0 | 1 => json!({ "kind": "drop" }),
            2 => json!({ "kind": "drop", "after_stanzas": rng.random_range(1..20) }),
            3 => json!({ "kind": "stream_error", "code": 503 }),
            4 => json!({ "kind": "stream_error", "code": 429, "hang_up": false }),
            5 => json!({ "kind": "stream_error", "code": 515 }),
            6 => json!({ "kind": "stream_end" }),
            7 => json!({ "kind": "failure", "reason": 503, "when": "login", "times": 2 }),
            8 => json!({ "kind": "failure", "reason": 409, "when": "login", "times": 1 }),
            9 => json!({ "kind": "failure", "reason": 405, "when": "login", "times": 1 }),
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
            _ => return self.strike_all(rng),
        };
        fault["account"] = json!(number.to_string());
        self.add(&fault)
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
