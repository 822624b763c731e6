// The strip of live figures.

import { html } from './html.js';
import { t, tag } from './i18n.js';
import { useTick } from './store.js';

export function Figures({ store }) {
  useTick(1000);
  const { aMinute, p99 } = store.figures();
  const all = store.instances.size;
  const connected = [...store.instances.values()].filter((instance) => instance.state === 'connected').length;
  const number = (value) => value.toLocaleString(tag());
  const tiles = [
    ['connected', t('figures.connectedOf', { n: number(connected), all: number(all) })],
    ['shown', number(store.presences.size)],
    ['minute', number(aMinute)],
    ['p99', p99 === null ? '–' : `${p99.toLocaleString(tag(), { maximumSignificantDigits: 2 })} ms`],
  ];
  return html`<section class="figures" aria-label=${t('figures.title')}>
    <dl>
      ${tiles.map(
        ([name, value]) => html`<div class="tile ${name}"><dt>${t(`figures.${name}`)}</dt><dd>${value}</dd></div>`,
      )}
    </dl>
  </section>`;
}
