// The last minutes, drawn: a row for each chat, a bar for each presence.

import { html } from './html.js';
import { count, t, tag } from './i18n.js';
import { masked } from './number.js';
import { TIMELINE, useTick } from './store.js';
import { duration } from './ui.js';

const ROWS = 8;
const LISTED = 30;
const MINUTES = TIMELINE / 60_000;

/** What all instances showed, or `only` one. */
export function Timeline({ store, only }) {
  useTick(500);
  const now = store.now();
  const begin = now - TIMELINE;
  const spans = store.spans
    .filter((span) => (!only || span.instance === only) && endOf(span, now) > begin)
    .map((span) => ({ ...span, end: endOf(span, now) }));
  // The chats that showed something last are on top.
  const rows = new Map();
  for (const span of spans.toReversed()) {
    const key = `${span.instance} ${span.chat}`;
    rows.set(key, [...(rows.get(key) ?? []), span]);
  }
  const label = t('timeline.label', { n: count(spans.length, 'timeline.count') });
  return html`<section class="card timeline" aria-labelledby="timeline">
    <div class="heading">
      <h2 id="timeline">${t('timeline.title')}</h2>
      <p class="legend" aria-hidden="true">
        <span class="typing">${t('try.typing')}</span><span class="recording">${t('try.recording')}</span>
      </p>
    </div>
    ${spans.length === 0
      ? html`<p class="empty small">${t('timeline.empty')}</p>`
      : html`<div class="chart" role="img" aria-label=${label}>
            ${[...rows.values()].slice(0, ROWS).map((row) => html`<${Row} spans=${row} begin=${begin} named=${!only} />`)}
            <div class="axis">
              ${Array.from({ length: MINUTES }, (_, at) => html`<span>${t('timeline.ago', { n: MINUTES - at })}</span>`)}
              <span class="now">${t('timeline.now')}</span>
            </div>
          </div>
          ${rows.size > ROWS && html`<p class="hint">${t('shown.more', { n: rows.size - ROWS })}</p>`}
          <details>
            <summary>${t('timeline.list')}</summary>
            <${Listed} spans=${spans.toReversed().slice(0, LISTED)} />
          </details>`}
  </section>`;
}

/** Whatever was not told to be over is over at its time. */
function endOf(span, now) {
  return Math.min(span.ended ?? span.until, now);
}

function Row({ spans, begin, named }) {
  const percent = (time) => `${Math.max(0, Math.min(100, ((time - begin) / TIMELINE) * 100))}%`;
  const { chat, instance } = spans[0];
  return html`<div class="row">
    <span class="chat">${masked(chat)}${named && html`<small>${instance}</small>`}</span>
    <span class="bars">
      ${spans.map(
        (span) => html`<i class=${span.state} style=${{ left: percent(span.since), width: `calc(${percent(span.end)} - ${percent(span.since)})` }}></i>`,
      )}
    </span>
  </div>`;
}

function Listed({ spans }) {
  const time = (at) => new Date(at).toLocaleTimeString(tag());
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${t('timeline.list')}>
    <table>
      <thead>
        <tr>
          <th scope="col">${t('timeline.from')}</th>
          <th scope="col">${t('timeline.for')}</th>
          <th scope="col">${t('timeline.what')}</th>
          <th scope="col">${t('timeline.chat')}</th>
        </tr>
      </thead>
      <tbody>
        ${spans.map(
          (span) => html`<tr>
            <td>${time(span.since)}</td>
            <td>${duration(span.end - span.since)}</td>
            <td>${t(`shown.${span.state}`)}</td>
            <td>${masked(span.chat)} · ${span.instance}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
