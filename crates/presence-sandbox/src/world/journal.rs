//! Every stanza clients sent, with its time.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::screen::as_millis;
use super::{Number, Refused};

/// The text the journal holds at most, whatever the number of stanzas.
const MAX_BYTES: usize = 64 << 20;

/// One stanza from a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalEntry {
    /// Counts up from 1 without a gap.
    pub seq: u64,
    /// When it came: milliseconds since the sandbox started.
    #[serde(rename = "at_ms", serialize_with = "as_millis")]
    pub at: Duration,
    /// The sender's phone number; `None` for a device that is not linked yet.
    pub from: Option<Number>,
    /// The stanza as XML text. A login that was refused, or that replaced a connection, is a `<login jid>`.
    pub stanza: String,
    /// Which attributes were JIDs on the wire, as `tag.attribute`; all others were text. Each is named once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jids: Vec<String>,
    /// Why it had no effect; `None` when it had, or when the sandbox does not know what it means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

/// A stanza as the journal shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) xml: String,
    pub(crate) jids: Vec<String>,
}

impl Text {
    fn bytes(&self) -> usize {
        self.xml.len() + self.jids.iter().map(String::len).sum::<usize>()
    }
}

/// Some consecutive entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JournalPage {
    /// Oldest first.
    pub entries: Vec<JournalEntry>,
    /// The newest stanza's `seq`; 0 before the first. When it is past the last entry's, there is more.
    pub latest: u64,
    /// The oldest stanza's `seq` still kept: what was before it is gone.
    pub oldest: u64,
}

#[derive(Debug)]
pub(super) struct Journal {
    entries: VecDeque<JournalEntry>,
    bytes: usize,
    latest: u64,
    most: usize,
}

impl Journal {
    pub(super) fn new(most: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            latest: 0,
            most,
        }
    }

    pub(super) fn write(
        &mut self,
        now: Duration,
        from: Option<Number>,
        text: Text,
        refused: Option<Refused>,
    ) {
        self.latest += 1;
        self.bytes += text.bytes();
        let Text { xml: stanza, jids } = text;
        self.entries.push_back(JournalEntry {
            seq: self.latest,
            at: now,
            from,
            stanza,
            jids,
            refused,
        });
        while self.entries.len() > self.most || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else {
                break;
            };
            let text = Text {
                xml: oldest.stanza,
                jids: oldest.jids,
            };
            self.bytes -= text.bytes();
        }
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = &JournalEntry> {
        self.entries.iter().filter(|entry| entry.refused.is_some())
    }

    pub(super) fn after(&self, after: u64, limit: usize) -> JournalPage {
        let oldest = self.latest + 1 - self.entries.len() as u64;
        let skip = usize::try_from(after.saturating_add(1).saturating_sub(oldest)).unwrap_or(usize::MAX);
        let entries = self.entries.iter().skip(skip).take(limit).cloned().collect();
        JournalPage {
            entries,
            latest: self.latest,
            oldest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(xml: String) -> Text {
        Text { xml, jids: vec![] }
    }

    fn journal_of(stanzas: u64, most: usize) -> Journal {
        let mut journal = Journal::new(most);
        for n in 1..=stanzas {
            journal.write(
                Duration::from_millis(n),
                None,
                text(format!("<a n=\"{n}\"/>")),
                None,
            );
        }
        journal
    }

    fn seqs(page: &JournalPage) -> Vec<u64> {
        page.entries.iter().map(|entry| entry.seq).collect()
    }

    #[test]
    fn a_page_starts_after_what_the_reader_has() {
        let journal = journal_of(5, 100);
        assert_eq!(seqs(&journal.after(0, 100)), [1, 2, 3, 4, 5]);
        assert_eq!(seqs(&journal.after(3, 100)), [4, 5]);
        assert_eq!(seqs(&journal.after(1, 2)), [2, 3]);
        assert!(seqs(&journal.after(5, 100)).is_empty());
        assert!(seqs(&journal.after(u64::MAX, 100)).is_empty());
    }

    #[test]
    fn the_oldest_stanzas_are_forgotten_and_the_reader_can_tell() {
        let page = journal_of(5, 2).after(0, 100);
        assert_eq!((seqs(&page), page.oldest, page.latest), (vec![4, 5], 4, 5));
        let page = journal_of(5, 0).after(0, 100);
        assert_eq!((seqs(&page), page.oldest, page.latest), (vec![], 6, 5));
        assert_eq!(
            journal_of(0, 2).after(0, 100),
            JournalPage {
                entries: vec![],
                latest: 0,
                oldest: 1
            }
        );
    }

    #[test]
    fn long_stanzas_are_bounded_together() {
        let mut journal = Journal::new(usize::MAX);
        for _ in 0..100 {
            journal.write(Duration::ZERO, None, text("x".repeat(1 << 20)), None);
        }
        assert_eq!(journal.entries.len(), 64);
    }

    #[test]
    fn an_entry_is_the_json_the_control_api_promises() {
        let mut journal = Journal::new(2);
        let (at, from) = (
            Duration::from_millis(1500),
            Some("5511988887777".parse().unwrap()),
        );
        journal.write(at, from, text("<a/>".to_owned()), None);
        let typed = Text {
            xml: "<b to=\"1@lid\"/>".to_owned(),
            jids: vec!["b.to".to_owned()],
        };
        journal.write(at, None, typed, Some(Refused::LidOfUnmoved));
        let json: Vec<_> = journal
            .after(0, 2)
            .entries
            .iter()
            .map(|entry| serde_json::to_string(entry).unwrap())
            .collect();
        assert_eq!(
            json,
            [
                r#"{"seq":1,"at_ms":1500,"from":"5511988887777","stanza":"<a/>"}"#,
                r#"{"seq":2,"at_ms":1500,"from":null,"stanza":"<b to=\"1@lid\"/>","jids":["b.to"],"refused":"lid_of_unmoved"}"#,
            ]
        );
    }
}
