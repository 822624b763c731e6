// The stream of events, read by `fetch`: an `EventSource` could not send the token's header.

import { routes } from './api.js';

/** A stream is taken for dead when not even its comment, one each 15 s, has come for so long. */
const SILENCE = 40_000;
const LONGEST_WAIT = 15_000;

/**
 * Follows the events until the returned function is called. `onEvent(name, data)` is told each; `onLive(bool)`
 * whether the stream stands.
 */
export function follow(api, { onEvent, onLive }) {
  const stop = new AbortController();
  let lastId = '';
  let failures = 0;

  const readOnce = async () => {
    const broken = new AbortController();
    const signal = AbortSignal.any([stop.signal, broken.signal]);
    let silence;
    const listen = () => {
      clearTimeout(silence);
      silence = setTimeout(() => broken.abort(), SILENCE);
    };
    try {
      listen();
      const headers = lastId ? { 'last-event-id': lastId } : {};
      const response = await api.fetch(routes.events, { headers, signal });
      if (!response.ok) return;
      onLive(true);
      failures = 0;
      for await (const event of blocks(response.body, listen)) {
        lastId = event.id || lastId;
        onEvent(event.name, JSON.parse(event.data));
      }
    } finally {
      clearTimeout(silence);
    }
  };

  const run = async () => {
    while (!stop.signal.aborted) {
      try {
        await readOnce();
      } catch {
        // It is opened again, whatever it was.
      }
      if (stop.signal.aborted) return;
      onLive(false);
      await pause(Math.min(LONGEST_WAIT, 500 * 2 ** failures++), stop.signal);
    }
  };
  run();
  return () => stop.abort();
}

/** The events in a stream of bytes. `onBytes` is told whenever any come. */
async function* blocks(body, onBytes) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    onBytes();
    text += value;
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      const event = block(text.slice(0, end));
      if (event.data) yield event;
    }
  }
}

function block(text) {
  const event = { id: '', name: 'message', data: '' };
  for (const line of text.split('\n')) {
    const [field, value] = [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trimStart()];
    if (field === 'id') event.id = value;
    if (field === 'event') event.name = value;
    if (field === 'data') event.data += value;
  }
  return event;
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}
