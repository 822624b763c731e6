//! What a query names: a strict reader of the PromQL that our dashboard and alerts use. A crate that knows all of
//! it brings twenty others.

/// What a query names.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) selectors: Vec<Selector>,
    /// The labels in `by (…)`.
    pub(super) grouped_by: Vec<String>,
}

/// A metric, and the values that its labels are to have or not to have.
#[derive(Debug)]
pub(super) struct Selector {
    pub(super) metric: String,
    pub(super) matchers: Vec<(String, Vec<String>)>,
}

const FUNCTIONS: [&str; 6] = ["histogram_quantile", "increase", "max", "min", "rate", "sum"];

impl Query {
    /// Panics at what it does not know.
    pub(super) fn parse(text: &str) -> Self {
        let opened = text.matches(['(', '{', '[']).count();
        assert_eq!(opened, text.matches([')', '}', ']']).count(), "{text}");
        let mut query = Self::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if !first.is_ascii_alphabetic() {
                let known = first.is_ascii_digit() || " ().,*/><=".contains(first) || first == '[';
                assert!(known, "{first:?} in {text}");
                // A range is a number and a unit.
                let skip = match first {
                    '[' => rest.find(']').unwrap() + 1,
                    _ => 1,
                };
                rest = &rest[skip..];
                continue;
            }
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            rest = after;
            if word == "by" {
                let (labels, after) = after
                    .trim_start()
                    .strip_prefix('(')
                    .unwrap()
                    .split_once(')')
                    .unwrap();
                query.grouped_by.extend(labels.split(", ").map(str::to_owned));
                rest = after;
            } else if after.starts_with('(') || after.starts_with(" by ") {
                assert!(FUNCTIONS.contains(&word), "the function {word} in {text}");
            } else {
                let (matchers, after) = match after.strip_prefix('{') {
                    Some(matchers) => matchers.split_once('}').unwrap(),
                    None => ("", after),
                };
                query.selectors.push(Selector {
                    metric: word.to_owned(),
                    matchers: matchers.split_terminator(',').map(matcher).collect(),
                });
                rest = after;
            }
        }
        query
    }
}

/// A label, and the values that it is compared with: alternatives of words, or a variable of the dashboard.
fn matcher(text: &str) -> (String, Vec<String>) {
    let (label, value) = text.split_once(['=', '!']).unwrap();
    let value = value
        .trim_start_matches(['=', '~'])
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap();
    let values = value.split('|').map(str::to_owned);
    (label.to_owned(), values.collect())
}
