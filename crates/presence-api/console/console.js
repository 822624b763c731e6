// The page of somebody who is signed in: the bar, the figures, the list of instances, and what the address names.

import { BASE } from './api.js';
import { Choices } from './choices.js';
import { Figures } from './figures.js';
import { html, useEffect, useState } from './html.js';
import { t } from './i18n.js';
import { Instance } from './instance.js';
import { InstanceList } from './list.js';
import { ShownNow } from './shown.js';
import { useStore } from './store.js';
import { Timeline } from './timeline.js';
import { Icon, Logo } from './ui.js';

/** The instance that the address names: `#/i/<name>`; `null` is the overview. */
function useRoute() {
  const read = () => {
    const name = /^#\/i\/(.+)$/.exec(location.hash)?.[1];
    return name ? decodeURIComponent(name) : null;
  };
  const [name, setName] = useState(read);
  useEffect(() => {
    const follow = () => setName(read());
    addEventListener('hashchange', follow);
    return () => removeEventListener('hashchange', follow);
  }, []);
  return name;
}

export function Console({ api, store, signOut }) {
  useStore(store);
  const chosen = useRoute();
  // A token of one instance has nothing to choose from.
  const name = chosen ?? (store.isAccount ? null : [...store.instances.keys()][0] ?? null);
  useEffect(() => {
    document.title = name ? `${name} · Presence` : 'Presence';
  }, [name]);
  return html`
    <a class="skip" href="#content" onClick=${skip}>${t('app.skip')}</a>
    <header class="bar">
      <a class="brand" href="#/"><${Logo} />Presence</a>
      <${Live} live=${store.live} />
      <span class="spring"></span>
      <${Choices} />
      <button type="button" class="quiet" onClick=${signOut}>${t('app.signOut')}</button>
    </header>
    <${Figures} store=${store} />
    <div class="columns ${chosen === null ? 'at-list' : 'at-detail'} ${store.isAccount ? '' : 'single'}">
      ${store.isAccount && html`<${InstanceList} api=${api} store=${store} chosen=${name} />`}
      <main id="content" tabindex="-1">
        ${store.isAccount &&
        chosen !== null &&
        html`<a class="back" href="#/"><${Icon} name="back" />${t('app.back')}</a>`}
        ${name === null
          ? html`<${Overview} api=${api} store=${store} />`
          : html`<${Instance} key=${name} name=${name} api=${api} store=${store} />`}
      </main>
    </div>
    <footer class="foot">
      <${Limits} limits=${store.limits} />
      <a href=${new URL('docs', BASE)}>${t('app.api')}</a>
    </footer>
  `;
}

/** The address names an instance, so that it must not name a place on the page. */
function skip(event) {
  event.preventDefault();
  document.getElementById('content').focus();
}

function Overview({ api, store }) {
  if (store.live === null) return html`<p class="loading" role="status">${t('app.connecting')}</p>`;
  if (store.instances.size === 0) return html`<${Welcome} store=${store} />`;
  return html`
    <h1 class="hidden">${t('list.overview')}</h1>
    <${ShownNow} api=${api} store=${store} />
    <${Timeline} store=${store} />
  `;
}

/** For an account that has nothing yet. */
function Welcome({ store }) {
  return html`<section class="card empty welcome">
    <${Logo} />
    <h1>${t('list.emptyTitle')}</h1>
    <p>${t('list.emptyText')}</p>
    <button type="button" class="primary" onClick=${() => store.set({ creating: true })}><${Icon} name="plus" />${t('list.new')}</button>
  </section>`;
}

function Live({ live }) {
  const words = live ? 'app.live' : live === null ? 'app.connecting' : 'app.reconnecting';
  return html`<span class="live ${live ? 'good' : 'busy'}" role="status"><span class="dot"></span>${t(words)}</span>`;
}

function Limits({ limits }) {
  if (!limits) return html`<span>${t('app.limitsNone')}</span>`;
  return html`<label class="limits">
    <meter min="0" max=${limits.limit} low=${limits.limit / 5} value=${limits.remaining}></meter>
    ${t('app.limits', limits)}
  </label>`;
}
