// An instance's state, and why: in words, with the time until the next attempt.

import { html } from './html.js';
import { has, t } from './i18n.js';
import { useTick } from './store.js';
import { duration } from './ui.js';

/** The state in one word, for its colour and its name. */
export function kind(instance) {
  return instance.reason === 'waiting_for_phone' ? 'linking' : instance.state;
}

export function Badge({ instance }) {
  const state = kind(instance);
  return html`<span class="badge ${tone(instance)}"><span class="dot"></span>${t(`state.${state}`)}</span>`;
}

/** Green, amber, red or grey. A ban and a fault are red, whatever the state. */
export function tone(instance) {
  if (instance.state === 'connected') return 'good';
  if (['banned', 'refused', 'replaced', 'unlinked', 'crashed', 'not_recorded', 'outdated'].includes(instance.reason)) return 'bad';
  return instance.state === 'connecting' ? 'busy' : 'off';
}

/** Why it is in that state, and what to do. */
export function Why({ instance, store }) {
  useTick(1000);
  return html`<span>${why(instance, store.now())}</span>`;
}

function why({ state, reason, retryAt, numberJid, displayStatus }, now) {
  if (reason) {
    const left = retryAt && Date.parse(retryAt) - now;
    const name = left <= 0 && has(`why.${reason}.now`) ? `why.${reason}.now` : `why.${reason}`;
    // A reason that this page does not know yet is told as the service tells it.
    return has(name) ? t(name, { time: duration(left ?? 0) }) : displayStatus;
  }
  if (state === 'connected') return t('why.connected');
  if (state === 'connecting') return t('why.connecting');
  if (state === 'loggedout') return t('why.loggedout');
  return t(numberJid ? 'why.stopped' : 'why.never');
}
