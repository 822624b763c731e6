// What phones show now, and the button that ends it.

import { routes } from './api.js';
import { html } from './html.js';
import { t } from './i18n.js';
import { Number, masked } from './number.js';
import { useTick } from './store.js';
import { Dots, Problem, duration, useTask } from './ui.js';

/** Rows that are drawn at most; nobody reads more. */
const MOST = 50;

/** What all instances show, or `only` one. */
export function ShownNow({ api, store, only }) {
  const all = [...store.presences.values()].filter((presence) => !only || presence.instance === only);
  all.sort((a, b) => a.since - b.since);
  return html`<section class="card shown" aria-labelledby="shown">
    <h2 id="shown">${t('shown.title')}${all.length > 0 && html` <span class="count">${all.length}</span>`}</h2>
    ${all.length === 0
      ? html`<div class="empty">
          <${Sleeping} />
          <p><strong>${t('shown.empty')}</strong><br />${t('shown.emptyText')}</p>
        </div>`
      : html`<ul>
          ${all.slice(0, MOST).map((presence) => html`<${Row} key=${presence.instance + presence.chat} presence=${presence} api=${api} store=${store} named=${!only} />`)}
        </ul>`}
    ${all.length > MOST && html`<p class="hint">${t('shown.more', { n: all.length - MOST })}</p>`}
  </section>`;
}

function Row({ presence, api, store, named }) {
  useTick(250);
  const { instance, chat, state, since, until } = presence;
  const [task, end] = useTask(() => api.call('POST', routes.presence(instance), { body: { number: chat, state: 'pause' } }));
  const left = until - store.now();
  const share = Math.max(0, Math.min(1, left / (until - since)));
  return html`<li class=${state}>
    <span class="bubble"><${Dots} state=${state} /></span>
    <span class="who"><${Number} jid=${chat} />${named && html`<a href="#/i/${encodeURIComponent(instance)}">${instance}</a>`}</span>
    <span class="what">${t(`shown.${state}`)}</span>
    <span class="left">${t('shown.left', { time: duration(left) })}<span class="track"><i style=${{ width: `${share * 100}%` }}></i></span></span>
    <button type="button" class="small" disabled=${task.busy} aria-label=${t('shown.endOf', { state: t(`shown.${state}`), chat: masked(chat) })} onClick=${() => end()}>
      ${t('shown.end')}
    </button>
    <${Problem} error=${task.error} />
  </li>`;
}

/** An empty bubble. */
function Sleeping() {
  return html`<svg class="drawing" viewBox="0 0 96 64" aria-hidden="true">
    <path d="M20 6h56a12 12 0 0 1 12 12v20a12 12 0 0 1-12 12H34L18 60l2-10a12 12 0 0 1-12-12V18A12 12 0 0 1 20 6z" />
    <circle cx="34" cy="28" r="3.5" /><circle cx="48" cy="28" r="3.5" /><circle cx="62" cy="28" r="3.5" />
  </svg>`;
}
