// The console: signed in or not, and what the address names.

import { Api, routes } from './api.js';
import { applyChoices, onLanguage } from './choices.js';
import { follow } from './events.js';
import { html, render, useEffect, useState } from './html.js';
import { t } from './i18n.js';
import { Console } from './console.js';
import { SignIn } from './signin.js';
import { Store } from './store.js';

/** Where the token is kept: in this tab, until it is closed. */
const TOKEN = 'presence.token';

function App() {
  const [session, setSession] = useState(null);
  const [notice, setNotice] = useState('');
  const [trying, setTrying] = useState(() => sessionStorage.getItem(TOKEN) !== null);
  const [, redraw] = useState(0);

  const signOut = (notice = '') => {
    sessionStorage.removeItem(TOKEN);
    setNotice(notice);
    setSession((before) => {
      before?.stop();
      return null;
    });
  };
  const signIn = async (token) => {
    const store = new Store();
    const api = new Api(token, {
      onLimits: (limits) => store.set({ limits }),
      // A token that was valid until now.
      onInvalid: () => store.live !== null && signOut(t('signin.ended')),
    });
    const { answer } = await api.call('GET', routes.list);
    sessionStorage.setItem(TOKEN, token);
    store.handleList(answer.instances);
    const stop = follow(api, {
      onEvent: (name, data) => store.handleEvent(name, data),
      onLive: (live) => store.set({ live }),
    });
    setSession({ api, store, stop });
  };

  useEffect(() => {
    onLanguage(() => redraw((count) => count + 1));
    if (trying) signIn(sessionStorage.getItem(TOKEN)).catch(() => signOut()).finally(() => setTrying(false));
  }, []);
  if (trying && !session) return html`<p class="loading" role="status">${t('app.connecting')}</p>`;
  return session
    ? html`<${Console} ...${session} signOut=${() => signOut()} />`
    : html`<${SignIn} onToken=${signIn} notice=${notice} />`;
}

applyChoices();
render(html`<${App} />`, document.getElementById('app'));
