// The instances of an account: found, chosen, created.

import { routes } from './api.js';
import { html, useState } from './html.js';
import { t } from './i18n.js';
import { Why, kind, tone } from './status.js';
import { Copy, Dialog, Icon, Problem, useTask } from './ui.js';

export function InstanceList({ api, store, chosen }) {
  const [query, setQuery] = useState('');
  const setCreating = (creating) => store.set({ creating });
  const all = [...store.instances.values()];
  const found = all.filter((instance) => matches(instance, query.trim().toLowerCase()));
  return html`<nav class="list" aria-label=${t('list.title')}>
    <div class="heading">
      <h2>${t('list.title')}</h2>
      <button type="button" class="primary small" onClick=${() => setCreating(true)}>
        <${Icon} name="plus" />${t('list.new')}
      </button>
    </div>
    ${all.length > 0 &&
    html`<div class="search">
      <${Icon} name="search" />
      <input type="search" aria-label=${t('list.search')} placeholder=${t('list.search')} value=${query} onInput=${(event) => setQuery(event.target.value)} />
    </div>`}
    <ul>
      ${all.length > 0 &&
      html`<li>
        <a href="#/" class="overview" aria-current=${chosen === null ? 'page' : undefined}><${Icon} name="grid" />${t('list.overview')}</a>
      </li>`}
      ${found.map((instance) => html`<${Item} key=${instance.name} instance=${instance} store=${store} chosen=${chosen === instance.name} />`)}
    </ul>
    ${all.length > 0 && found.length === 0 && html`<p class="empty small" role="status">${t('list.none', { query })}</p>`}
    ${store.creating && html`<${Create} api=${api} store=${store} onClose=${() => setCreating(false)} />`}
  </nav>`;
}

function matches(instance, query) {
  return [instance.name, instance.profileName, instance.numberJid ?? '', t(`state.${kind(instance)}`)].some((text) =>
    text.toLowerCase().includes(query),
  );
}

function Item({ instance, store, chosen }) {
  const shown = [...store.presences.values()].filter((presence) => presence.instance === instance.name).length;
  return html`<li>
    <a href="#/i/${encodeURIComponent(instance.name)}" aria-current=${chosen ? 'page' : undefined}>
      <span class="dot ${tone(instance)}"></span>
      <span class="name">${instance.name}<span class="hidden">: ${t(`state.${kind(instance)}`)}.</span></span>
      ${shown > 0 && html`<span class="count" title=${t('figures.shown')}>${shown}</span>`}
      <span class="why"><${Why} instance=${instance} store=${store} /></span>
    </a>
  </li>`;
}

/** A new instance. Its token is shown when it is there. */
function Create({ api, store, onClose }) {
  const [created, setCreated] = useState(null);
  const [task, run] = useTask(async (body) => {
    const { answer } = await api.call('POST', routes.create, { body });
    const { name, token, createdAt } = answer.instance;
    store.details.set(name, { token, createdAt });
    setCreated(answer.instance);
  });
  const submit = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    run({ name: form.get('name').trim(), keepOnlineStatus: form.get('keepOnline') !== null });
  };
  if (created) {
    const open = () => {
      location.hash = `#/i/${encodeURIComponent(created.name)}`;
      onClose();
    };
    return html`<${Dialog} title=${t('create.done', { name: created.name })} onClose=${onClose}>
      <h3>${t('create.token')}</h3>
      <div class="secret"><code>${created.token}</code><${Copy} text=${created.token} /></div>
      <p class="hint">${t('create.tokenHint')}</p>
      <div class="buttons">
        <button type="button" onClick=${onClose}>${t('app.close')}</button>
        <button type="button" class="primary" onClick=${open}>${t('create.next')}</button>
      </div>
    <//>`;
  }
  return html`<${Dialog} title=${t('create.title')} onClose=${onClose}>
    <form onSubmit=${submit}>
      <label for="new-name">${t('create.name')}</label>
      <input id="new-name" name="name" required maxlength="100" autocomplete="off" autocapitalize="off" spellcheck=${false} aria-describedby="new-hint" />
      <p class="hint" id="new-hint">${t('create.hint')}</p>
      <label class="check"><input type="checkbox" name="keepOnline" />${t('create.keepOnline')}</label>
      <${Problem} error=${task.error} />
      <div class="buttons">
        <button type="button" onClick=${onClose}>${t('app.cancel')}</button>
        <button class="primary" disabled=${task.busy}>${t('create.submit')}</button>
      </div>
    </form>
  <//>`;
}
