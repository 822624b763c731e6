//! Prometheus' text format, as far as the service writes it.

use std::collections::BTreeMap;

/// The labels of a sample, with their values.
pub(super) type Sample = BTreeMap<String, String>;

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    /// By the names in `# TYPE`.
    types: BTreeMap<String, String>,
    samples: BTreeMap<String, Vec<(Sample, f64)>>,
}

impl Exposition {
    /// Panics where the text is not as Prometheus wants it.
    pub(super) fn parse(text: &str) -> Self {
        let mut exposition = Self::default();
        let mut helped = None;
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(!help.is_empty(), "{line}");
                helped = Some(name.to_owned());
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(helped.as_deref(), Some(name), "{line}");
                let before = exposition.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} is told twice");
            } else {
                exposition.add(line);
            }
        }
        exposition
    }

    fn add(&mut self, line: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
            None => (series, ""),
        };
        // No value of ours has a comma in it.
        let labels = labels.split_terminator(',').map(|label| {
            let (label, value) = label.split_once('=').unwrap();
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            (label.to_owned(), value.unwrap().to_owned())
        });
        let sample = (labels.collect(), value.parse().unwrap());
        self.samples.entry(name.to_owned()).or_default().push(sample);
    }

    /// The metrics that are told.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(String::as_str)
    }

    /// The samples of a series, by its whole name.
    pub(super) fn samples(&self, name: &str) -> Vec<&Sample> {
        let samples = self.samples.get(name).into_iter().flatten();
        samples.map(|(sample, _)| sample).collect()
    }

    /// The sum of them.
    pub(super) fn sum(&self, name: &str) -> f64 {
        let samples = self.samples.get(name).into_iter().flatten();
        samples.map(|(_, value)| value).sum()
    }
}
