// What the page knows, and how events change it. No component keeps a second copy.

import { useEffect, useState } from './html.js';

/** How far back the timeline goes, in milliseconds. */
export const TIMELINE = 5 * 60_000;
/** Entries of the timeline that are kept at most. */
const MOST_SPANS = 600;

export class Store {
  constructor() {
    this.listeners = new Set();
    this.live = null; // null: not yet; true; false: it is being opened again
    this.skew = 0; // The service's clock less this one's, in milliseconds.
    this.instances = new Map();
    this.presences = new Map(); // What is shown now.
    this.spans = []; // What is or was shown, the latest last.
    this.sends = []; // When a presence was sent in the last minute, and how long that took.
    this.limits = null;
    this.details = new Map(); // What only `list` tells: tokens, times of creation.
    this.isAccount = true;
    this.creating = false; // Whether the dialog for a new instance is open.
  }

  /** The service's time of day. */
  now() {
    return Date.now() + this.skew;
  }

  set(change) {
    Object.assign(this, change);
    this.changed();
  }

  changed() {
    if (this.due) return;
    // Many events may come at once; the page is drawn once for them.
    this.due = setTimeout(() => {
      this.due = null;
      this.listeners.forEach((listener) => listener());
    }, 16);
  }

  /** What `list` answers. */
  handleList(list) {
    this.isAccount = list.length === 0 || list[0].token !== undefined;
    this.details = new Map(
      list.map((item) => [item.name, { token: item.token, tokenError: item.tokenError, createdAt: item.createdAt }]),
    );
    this.changed();
  }

  handleEvent(name, data) {
    if (name === 'snapshot') this.handleSnapshot(data);
    if (name === 'instance') this.handleInstance(data);
    if (name === 'presence') this.handlePresence(data);
    this.changed();
  }

  handleSnapshot({ now, instances, presences }) {
    this.skew = Date.parse(now) - Date.now();
    this.instances = new Map(instances.map((instance) => [instance.name, instance]));
    const there = new Set(presences.map(key));
    for (const [at, presence] of this.presences) {
      if (!there.has(at)) this.end(presence);
    }
    presences.forEach((presence) => this.handlePresence(presence));
  }

  handleInstance(instance) {
    if (instance.state === 'deleted') {
      this.instances.delete(instance.name);
      this.details.delete(instance.name);
    } else {
      this.instances.set(instance.name, instance);
    }
  }

  handlePresence(event) {
    const now = this.now();
    const before = this.presences.get(key(event));
    if (event.sent_ms !== undefined) this.sends.push({ at: now, ms: event.sent_ms });
    this.sends = this.sends.filter((send) => send.at > now - 60_000);
    if (event.state === null) {
      if (before) this.end(before);
      return;
    }
    const until = Date.parse(event.until);
    if (before && before.state === event.state) {
      before.until = until;
      return;
    }
    if (before) this.end(before);
    const span = { instance: event.instance, chat: event.chat_jid, state: event.state, since: now, until, ended: null };
    this.presences.set(key(event), span);
    this.spans.push(span);
    this.spans = this.spans.filter((span) => (span.ended ?? now) > now - TIMELINE).slice(-MOST_SPANS);
  }

  end(presence) {
    presence.ended = this.now();
    this.presences.delete(key({ instance: presence.instance, chat_jid: presence.chat }));
  }

  /** Presences that were sent in the last minute, and within how many milliseconds 99 of 100 were. */
  figures() {
    const since = this.now() - 60_000;
    const times = this.sends.filter((send) => send.at > since).map((send) => send.ms);
    times.sort((a, b) => a - b);
    const p99 = times.length ? times[Math.max(0, Math.ceil(times.length * 0.99) - 1)] : null;
    return { aMinute: times.length, p99 };
  }
}

function key({ instance, chat_jid: chat }) {
  return `${instance} ${chat}`;
}

/** Draws the component anew when the store changes. */
export function useStore(store) {
  const [, draw] = useState(0);
  useEffect(() => {
    const listener = () => draw((count) => count + 1);
    store.listeners.add(listener);
    return () => store.listeners.delete(listener);
  }, [store]);
  return store;
}

/** Draws the component anew every so many milliseconds. */
export function useTick(ms) {
  const [, draw] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => draw((count) => count + 1), ms);
    return () => clearInterval(timer);
  }, [ms]);
}
