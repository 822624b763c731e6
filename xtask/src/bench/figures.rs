//! What was measured: a table on the terminal, and JSON.

use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// Every figure, in the order in which it was measured.
#[derive(Default)]
pub(super) struct Figures(Vec<Figure>);

/// One row: the same thing, measured once in each round.
pub(super) struct Figure {
    /// What it is about, such as `presence, 16 connections`.
    pub(super) of: String,
    /// What was measured, with its unit.
    pub(super) what: &'static str,
    rounds: Vec<f64>,
}

impl Figure {
    /// The middle one of the rounds.
    pub(super) fn median(&self) -> f64 {
        let mut sorted = self.rounds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }

    fn extremes(&self) -> (f64, f64) {
        let rounds = self.rounds.iter().copied();
        let least = rounds.clone().fold(f64::INFINITY, f64::min);
        (least, rounds.fold(f64::NEG_INFINITY, f64::max))
    }
}

impl Figures {
    /// Adds what was measured in one round.
    pub(super) fn add(&mut self, of: impl Into<String>, what: &'static str, value: f64) {
        let of = of.into();
        match self
            .0
            .iter_mut()
            .find(|figure| figure.of == of && figure.what == what)
        {
            Some(figure) => figure.rounds.push(value),
            None => self.0.push(Figure {
                of,
                what,
                rounds: vec![value],
            }),
        }
    }

    /// Those of `what`, in their order.
    pub(super) fn of(&self, what: &str) -> impl Iterator<Item = &Figure> {
        self.0.iter().filter(move |figure| figure.what == what)
    }

    /// Writes `figures.json`.
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let rows: Vec<Value> = self
            .0
            .iter()
            .map(|figure| {
                let (of, what, rounds) = (&figure.of, figure.what, &figure.rounds);
                json!({ "of": of, "what": what, "median": figure.median(), "rounds": rounds })
            })
            .collect();
        Ok(fs::write(
            directory.join("figures.json"),
            serde_json::to_string_pretty(&json!({ "figures": rows }))? + "\n",
        )?)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|figure| figure.of.chars().count()).max();
        let width = width.unwrap_or_default();
        for figure in &self.0 {
            let (least, most) = figure.extremes();
            let Figure { of, what, rounds } = figure;
            write!(f, "{of:<width$}  {:>10} ", Rounded(figure.median()))?;
            if rounds.len() > 1 {
                write!(f, "({} … {}) ", Rounded(least), Rounded(most))?;
            }
            writeln!(f, "{what}")?;
        }
        Ok(())
    }
}

/// A number with three digits that count.
struct Rounded(f64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0.abs() {
            0.0 => 0,
            size if size < 1.0 => 3,
            size if size < 10.0 => 2,
            size if size < 100.0 => 1,
            _ => 0,
        };
        f.pad(&format!("{:.digits$}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_median_and_its_extremes() {
        let mut figures = Figures::default();
        for value in [3.0, 1.0, 250.0] {
            figures.add("presence", "ms", value);
        }
        figures.add("hyper alone", "requests/s", 97_123.4);
        assert_eq!(
            figures.to_string(),
            "presence           3.00 (1.00 … 250) ms\nhyper alone       97123 requests/s\n"
        );
    }
}
