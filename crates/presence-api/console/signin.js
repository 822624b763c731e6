// Signing in with a token.

import { html, useState } from './html.js';
import { explain, t } from './i18n.js';
import { Choices } from './choices.js';
import { Icon, Logo } from './ui.js';

/** `onToken(token)` tries it, and throws when it is none. */
export function SignIn({ onToken, notice }) {
  const [problem, setProblem] = useState(notice);
  const [busy, setBusy] = useState(false);
  const [shown, setShown] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const token = new FormData(event.target).get('token').trim();
    if (!token) return;
    setBusy(true);
    setProblem('');
    try {
      await onToken(token);
    } catch (error) {
      setProblem(error.status === 401 ? t('signin.invalid') : explain(error));
      setBusy(false);
    }
  };
  return html`<div class="signin">
    <header class="choices"><${Choices} /></header>
    <main>
      <${Logo} />
      <h1>Presence</h1>
      <p class="lead">${t('signin.lead')}</p>
      <form class="card" onSubmit=${submit}>
        <label for="token">${t('signin.token')}</label>
        <div class="joined">
          <input
            id="token" name="token" type=${shown ? 'text' : 'password'} required autofocus
            autocomplete="off" autocapitalize="off" spellcheck=${false}
            aria-describedby="token-hint" aria-invalid=${Boolean(problem)}
          />
          <button type="button" class="quiet" aria-pressed=${shown} aria-label=${t(shown ? 'signin.hide' : 'signin.show')} onClick=${() => setShown(!shown)}>
            <${Icon} name="eye" />
          </button>
        </div>
        <p class="hint" id="token-hint">${t('signin.hint')}</p>
        ${problem && html`<p class="problem" role="alert">${problem}</p>`}
        <button class="primary wide" disabled=${busy}>${t(busy ? 'signin.busy' : 'signin.submit')}</button>
      </form>
      <details>
        <summary>${t('signin.where')}</summary>
        <p>${t('signin.whereText')}</p>
        <pre tabindex="0"><code>presence-server account new my-company</code></pre>
      </details>
    </main>
  </div>`;
}
