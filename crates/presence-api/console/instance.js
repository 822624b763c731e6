// One instance: how it is and why, what can be done with it, what it shows.

import { routes } from './api.js';
import { html, useEffect, useState } from './html.js';
import { t, tag } from './i18n.js';
import { LinkPhone } from './link.js';
import { Number } from './number.js';
import { ShownNow } from './shown.js';
import { Badge, Why } from './status.js';
import { Timeline } from './timeline.js';
import { TryIt } from './tryit.js';
import { Confirm, Copy, Problem, useTask } from './ui.js';

export function Instance({ name, api, store }) {
  const instance = store.instances.get(name);
  const [linking, setLinking] = useState(false);
  const isConnected = instance?.state === 'connected';
  useEffect(() => {
    if (isConnected) setLinking(false);
  }, [isConnected]);
  // Somebody else created it after this page was opened.
  const isUnknown = store.isAccount && Boolean(instance) && !store.details.has(name);
  useEffect(() => {
    if (isUnknown) api.call('GET', routes.list).then(({ answer }) => store.handleList(answer.instances), () => {});
  }, [isUnknown]);
  if (!instance) {
    return store.live === null
      ? html`<p class="loading" role="status">${t('app.connecting')}</p>`
      : html`<div class="card empty"><p>${t('instance.gone')}</p></div>`;
  }
  const { state, reason, numberJid } = instance;
  // On the way to a code, and from the phone's answer on, the state is as if it connected by itself.
  const needsPhone = (linking && state !== 'connected') || (state === 'disconnected' && !numberJid) || state === 'loggedout' ||
    ['waiting_for_phone', 'registering', 'pairing_expired', 'pairing_failed', 'unlinked'].includes(reason);
  return html`
    <${Head} instance=${instance} api=${api} store=${store} />
    ${needsPhone && html`<${LinkPhone} instance=${instance} api=${api} open=${linking} onOpen=${setLinking} />`}
    ${!needsPhone &&
    html`<div class="pair">
        <${ShownNow} api=${api} store=${store} only=${name} />
        <${TryIt} instance=${instance} api=${api} store=${store} />
      </div>
      <${Timeline} store=${store} only=${name} />`}
    <${Settings} instance=${instance} api=${api} store=${store} />
  `;
}

function Head({ instance, api, store }) {
  const [asked, setAsked] = useState(null);
  const { name, state, reason, numberJid, profileName, node } = instance;
  const [task, reconnect] = useTask(() => api.call('POST', routes.reconnect(name)));
  const remove = async () => {
    await api.call('DELETE', routes.remove(name));
    location.hash = '#/';
  };
  const questions = {
    logout: () => api.call('DELETE', routes.logout(name)),
    delete: remove,
  };
  const isLinked = Boolean(numberJid) && state !== 'loggedout';
  const canReconnect = isLinked && (state !== 'connecting' || reason === 'banned') && reason !== 'unlinked';
  return html`<section class="card head">
    <div class="title">
      <h1>${name}</h1>
      <${Badge} instance=${instance} />
    </div>
    <p class="why"><${Why} instance=${instance} store=${store} /></p>
    ${numberJid && html`<p class="account">${profileName && html`<span>${profileName}</span>`}<${Number} jid=${numberJid} /></p>`}
    ${node && html`<p class="account">${t('instance.node')} <span>${node}</span></p>`}
    <${Problem} error=${task.error} />
    <div class="buttons" role="group" aria-label=${t('instance.actions')}>
      ${canReconnect && html`<button type="button" disabled=${task.busy} onClick=${() => reconnect()}>${t('instance.reconnect')}</button>`}
      ${isLinked && html`<button type="button" onClick=${() => setAsked('logout')}>${t('instance.logout')}</button>`}
      ${store.isAccount && html`<button type="button" class="danger quiet" onClick=${() => setAsked('delete')}>${t('instance.delete')}</button>`}
    </div>
    ${asked &&
    html`<${Confirm}
      title=${t(`instance.${asked}Title`, { name })}
      text=${t(`instance.${asked}Text`)}
      verb=${t(`instance.${asked}`)}
      act=${questions[asked]}
      onClose=${() => setAsked(null)}
    />`}
  </section>`;
}

function Settings({ instance, api, store }) {
  const { name, keepOnlineStatus } = instance;
  const details = store.details.get(name) ?? {};
  const [task, run] = useTask((keep) => api.call('POST', routes.settings(name), { body: { keepOnlineStatus: keep } }));
  return html`<section class="card settings" aria-labelledby="settings">
    <h2 id="settings">${t('instance.settings')}</h2>
    <label class="switch">
      <input type="checkbox" role="switch" checked=${keepOnlineStatus} disabled=${task.busy} onChange=${(event) => run(event.target.checked)} aria-describedby="keep-hint" />
      <span>${t('instance.keepOnline')}</span>
    </label>
    <p class="hint" id="keep-hint">${t('instance.keepOnlineHint')}</p>
    <${Problem} error=${task.error} />
    <${Token} details=${details} isAccount=${store.isAccount} />
    ${details.createdAt &&
    html`<p class="hint">${t('instance.created')} <time datetime=${details.createdAt}>${new Date(details.createdAt).toLocaleString(tag())}</time></p>`}
  </section>`;
}

/** The token is told to the account only; it is hidden until somebody wants it. */
function Token({ details, isAccount }) {
  const [open, setOpen] = useState(false);
  if (!isAccount) return html`<p class="hint">${t('instance.tokenOwn')}</p>`;
  if (details.tokenError) return html`<p class="hint">${t('instance.tokenLost')}</p>`;
  if (!details.token) return null;
  return html`<h3>${t('instance.token')}</h3>
    <div class="secret">
      <code>${open ? details.token : '•'.repeat(24)}</code>
      <button type="button" class="quiet small" aria-pressed=${open} onClick=${() => setOpen(!open)}>${t(open ? 'instance.hideToken' : 'instance.showToken')}</button>
      <${Copy} text=${details.token} />
    </div>`;
}
