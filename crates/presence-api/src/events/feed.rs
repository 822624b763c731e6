//! What is known of the instances that are followed, and which events come of what happens to them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use presence_core::{ChatJid, InstanceId, Shown};
use presence_store::Instance;
use presence_wa::{InstanceStatus, PresenceChange};
use tokio::time::Instant;

use super::event::{InstanceEvent, PresenceEvent, Snapshot, frame, written};
use crate::clock::Time;

/// Events that are kept for those who come back. As many as may wait for one client, so that one who was cut for
/// being slow starts again with a snapshot.
pub(super) const KEPT: usize = 256;

/// The state behind one hub's events. Like the indicators it neither waits nor reads a clock: what happens goes
/// in (`handle_*`), events come out ([`poll_event`](Self::poll_event)).
///
/// An indicator is over at its time, also where nobody could be told of its end.
pub(super) struct Feed {
    /// Tells this feed's numbers from another's.
    epoch: i64,
    /// Of the latest event.
    number: u64,
    instances: HashMap<InstanceId, Followed>,
    shown: BTreeMap<(InstanceId, ChatJid), Shown>,
    ends: BTreeSet<(Instant, InstanceId, ChatJid)>,
    pending: VecDeque<Arc<Event>>,
    history: VecDeque<Arc<Event>>,
}

struct Followed {
    instance: Arc<Instance>,
    status: Option<InstanceStatus>,
    /// In a cluster, where it is.
    node: Option<String>,
}

impl Followed {
    fn event(&self, time: Time) -> InstanceEvent<'_> {
        InstanceEvent::new(&self.instance, self.status.as_ref(), time).at(self.node.as_deref())
    }
}

/// One event, for those who follow the instance of this name.
pub(super) struct Event {
    number: u64,
    instance: String,
    pub(super) text: Bytes,
}

impl Event {
    /// Whether it is for those who asked for `names`; none is all.
    pub(super) fn is_for(&self, names: &HashSet<String>) -> bool {
        is_among(names, &self.instance)
    }
}

impl Feed {
    pub(super) fn new(time: Time) -> Self {
        Self {
            epoch: time.wall.timestamp_millis(),
            number: 0,
            instances: HashMap::new(),
            shown: BTreeMap::new(),
            ends: BTreeSet::new(),
            pending: VecDeque::new(),
            history: VecDeque::new(),
        }
    }

    /// The instances there are now. Says which are new.
    pub(super) fn handle_instances(&mut self, time: Time, now: Vec<Arc<Instance>>) -> Vec<InstanceId> {
        let there: HashSet<_> = now.iter().map(|instance| instance.id).collect();
        let known = self.instances.keys().copied();
        let gone: Vec<_> = known.filter(|id| !there.contains(id)).collect();
        for id in gone {
            self.handle_shown(time, id, Vec::new());
            if let Some(followed) = self.instances.remove(&id) {
                let event = InstanceEvent::deleted(&followed.instance);
                let text = self.frame("instance", &event);
                self.push(followed.instance.name.as_str(), text);
            }
        }
        let mut new = Vec::new();
        for instance in now {
            let id = instance.id;
            let followed = self.instances.remove(&id);
            let is_same = followed
                .as_ref()
                .is_some_and(|followed| followed.instance.keep_online == instance.keep_online);
            if followed.is_none() {
                new.push(id);
            }
            let (status, node) = followed.map_or((None, None), |followed| (followed.status, followed.node));
            let followed = Followed {
                instance,
                status,
                node,
            };
            self.instances.insert(id, followed);
            if !is_same {
                self.tell_instance(time, id);
            }
        }
        new
    }

    pub(super) fn handle_status(&mut self, time: Time, id: InstanceId, status: InstanceStatus) {
        let Some(followed) = self.instances.get_mut(&id) else {
            return;
        };
        // Whether it is online comes and goes with what it shows, and no event tells it.
        let is_same = followed.status.take().is_some_and(|mut before| {
            before.available = status.available;
            before == status
        });
        followed.status = Some(status);
        if !is_same {
            self.tell_instance(time, id);
        }
    }

    /// Where instances are now, in a cluster.
    pub(super) fn handle_nodes(&mut self, time: Time, node: impl Fn(InstanceId) -> Option<String>) {
        let mut moved = Vec::new();
        for (id, followed) in &mut self.instances {
            let node = node(*id);
            // On its way, it is still said to be where it was.
            if node.is_some() && followed.node != node {
                followed.node = node;
                moved.push(*id);
            }
        }
        moved.into_iter().for_each(|id| self.tell_instance(time, id));
    }

    /// All that the instance shows.
    pub(super) fn handle_shown(&mut self, time: Time, id: InstanceId, shown: Vec<(ChatJid, Shown)>) {
        let now: HashSet<_> = shown.iter().map(|(chat, _)| chat.clone()).collect();
        let known = self
            .shown
            .keys()
            .filter(|(of, chat)| *of == id && !now.contains(chat));
        let over: Vec<_> = known.map(|(_, chat)| chat.clone()).collect();
        let over = over.into_iter().map(|chat| (chat, None));
        for (chat, shown) in over.chain(shown.into_iter().map(|(chat, shown)| (chat, Some(shown)))) {
            let change = PresenceChange {
                chat,
                shown,
                took: None,
            };
            self.handle_change(time, id, change);
        }
    }

    /// What one chat of the instance shows.
    pub(super) fn handle_change(&mut self, time: Time, id: InstanceId, change: PresenceChange) {
        let PresenceChange { chat, shown, took } = change;
        let shown = shown.filter(|shown| shown.until > time.now.into_std());
        let key = (id, chat);
        let before = match shown {
            Some(shown) => self.shown.insert(key.clone(), shown),
            None => self.shown.remove(&key),
        };
        let (id, chat) = key;
        if before == shown {
            return;
        }
        if let Some(before) = before {
            self.ends
                .remove(&(Instant::from_std(before.until), id, chat.clone()));
        }
        if let Some(shown) = shown {
            self.ends
                .insert((Instant::from_std(shown.until), id, chat.clone()));
        }
        let Some(followed) = self.instances.get(&id) else {
            return;
        };
        let name = followed.instance.name.clone();
        let mut event = PresenceEvent::new(name.as_str(), &chat, shown.as_ref(), time);
        event.sent_ms = took.map(|took| (took.as_secs_f64() * 1e6).round() / 1e3);
        let text = self.frame("presence", &event);
        self.push(name.as_str(), text);
    }

    /// Time has passed. An early or extra call does nothing.
    pub(super) fn handle_timeout(&mut self, time: Time) {
        while let Some((_, id, chat)) = self.ends.first().filter(|(end, ..)| *end <= time.now).cloned() {
            let change = PresenceChange {
                chat,
                shown: None,
                took: None,
            };
            self.handle_change(time, id, change);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.ends.first().map(|(end, ..)| *end)
    }

    /// The next event. Call it until there is none after every `handle_*`.
    pub(super) fn poll_event(&mut self) -> Option<Arc<Event>> {
        self.pending.pop_front()
    }

    /// What somebody who asked for `names`, and has all up to the event `after`, is told first: what was missed
    /// as far as that is known, or else everything there is.
    pub(super) fn first(&self, time: Time, names: &HashSet<String>, after: Option<&str>) -> Bytes {
        match after.and_then(|after| self.missed(names, after)) {
            Some(missed) => missed.concat().into(),
            None => self.snapshot(time, names),
        }
    }

    fn missed(&self, names: &HashSet<String>, after: &str) -> Option<Vec<Bytes>> {
        let (epoch, number) = after.split_once('-')?;
        let number: u64 = number.parse().ok()?;
        let oldest = self.number + 1 - self.history.len() as u64;
        let is_known = (oldest..=self.number + 1).contains(&number.saturating_add(1));
        if epoch.parse() != Ok(self.epoch) || !is_known {
            return None;
        }
        let missed = self.history.iter().filter(|event| event.number > number);
        let missed = missed.filter(|event| event.is_for(names));
        Some(missed.map(|event| event.text.clone()).collect())
    }

    fn snapshot(&self, time: Time, names: &HashSet<String>) -> Bytes {
        let is_wanted = |followed: &&Followed| is_among(names, followed.instance.name.as_str());
        let mut followed: Vec<_> = self.instances.values().filter(is_wanted).collect();
        followed.sort_by_key(|followed| followed.instance.id);
        let presences = self.shown.iter().filter_map(|((id, chat), shown)| {
            let followed = self.instances.get(id).filter(is_wanted)?;
            let name = followed.instance.name.as_str();
            Some(PresenceEvent::new(name, chat, Some(shown), time))
        });
        let snapshot = Snapshot {
            now: written(time.wall),
            presences: presences.collect(),
            instances: followed
                .into_iter()
                .map(|followed| followed.event(time))
                .collect(),
        };
        frame(&self.id(self.number), "snapshot", &snapshot)
    }

    fn tell_instance(&mut self, time: Time, id: InstanceId) {
        let Some(followed) = self.instances.get(&id) else {
            return;
        };
        let name = followed.instance.name.clone();
        let text = self.frame("instance", &followed.event(time));
        self.push(name.as_str(), text);
    }

    /// The next event's text.
    fn frame(&self, name: &str, data: &impl serde::Serialize) -> Bytes {
        frame(&self.id(self.number + 1), name, data)
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.epoch)
    }

    fn push(&mut self, instance: &str, text: Bytes) {
        self.number += 1;
        let event = Arc::new(Event {
            number: self.number,
            instance: instance.to_owned(),
            text,
        });
        if self.history.len() == KEPT {
            self.history.pop_front();
        }
        self.history.push_back(Arc::clone(&event));
        self.pending.push_back(event);
    }
}

fn is_among(names: &HashSet<String>, name: &str) -> bool {
    names.is_empty() || names.contains(name)
}
