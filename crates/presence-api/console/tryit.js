// Trying a presence out, and the same call from a program.

import { BASE, routes } from './api.js';
import { html, useState } from './html.js';
import { t, tag } from './i18n.js';
import { snippets } from './snippets.js';
import { Copy, Problem, useTask } from './ui.js';

const STATES = ['typing', 'recording', 'pause'];

export function TryIt({ instance, api, store }) {
  const [number, setNumber] = useState('');
  const [state, setState] = useState('typing');
  const [seconds, setSeconds] = useState(5);
  const [sent, setSent] = useState(null);
  const [task, run] = useTask(async () => {
    setSent(null);
    setSent(await api.call('POST', routes.presence(instance.name), { body: bodyOf(number) }));
  });
  const bodyOf = (number) => ({ number, state, ...(state === 'pause' ? {} : { duration: seconds }) });
  const submit = (event) => {
    event.preventDefault();
    run();
  };
  return html`<section class="card try" aria-labelledby="try">
    <h2 id="try">${t('try.title')}</h2>
    <form onSubmit=${submit}>
      <label for="try-number">${t('try.number')}</label>
      <input id="try-number" required value=${number} onInput=${(event) => setNumber(event.target.value)} placeholder="+55 11 99999-9999" autocomplete="off" aria-describedby="try-hint" />
      <p class="hint" id="try-hint">${t('try.numberHint')}</p>
      <fieldset class="segments">
        <legend>${t('try.state')}</legend>
        ${STATES.map(
          (name) => html`<label><input type="radio" name="state" value=${name} checked=${state === name} onChange=${() => setState(name)} /><span>${t(`try.${name}`)}</span></label>`,
        )}
      </fieldset>
      <label for="try-duration">${t('try.duration')} <output for="try-duration">${seconds ? t('time.seconds', { n: seconds }) : t('try.once')}</output></label>
      <input id="try-duration" type="range" min="0" max="60" value=${seconds} disabled=${state === 'pause'} onInput=${(event) => setSeconds(event.target.valueAsNumber)} />
      ${instance.state !== 'connected' && html`<p class="hint">${t('try.offline')}</p>`}
      <button class="primary wide" disabled=${task.busy}>${t('try.send')}</button>
    </form>
    <${Problem} error=${task.error} />
    <div role="status">
      ${sent &&
      html`<h3>${t('try.answer')} <small>${t('try.took', { status: sent.status, ms: sent.took.toLocaleString(tag(), { maximumFractionDigits: 1 }) })}</small></h3>
        <pre tabindex="0"><code>${JSON.stringify(sent.answer, null, 2)}</code></pre>`}
    </div>
    <${Code} url=${new URL(routes.presence(instance.name), BASE).href} body=${bodyOf(number || '5511999999999')} token=${store.details.get(instance.name)?.token ?? (store.isAccount ? null : api.token)} />
  </section>`;
}

/** The call in four forms. The token is put in only when that is asked for. */
function Code({ url, body, token }) {
  const [language, setLanguage] = useState('curl');
  const [withToken, setWithToken] = useState(false);
  const texts = snippets(url, body, withToken ? token : undefined);
  return html`<details class="code">
    <summary>${t('try.code')}</summary>
    <fieldset class="segments small">
      <legend class="hidden">${t('try.code')}</legend>
      ${Object.keys(texts).map(
        (name) => html`<label><input type="radio" name="language" value=${name} checked=${language === name} onChange=${() => setLanguage(name)} /><span>${name}</span></label>`,
      )}
    </fieldset>
    <pre tabindex="0"><code>${texts[language]}</code></pre>
    <div class="buttons">
      ${token && html`<label class="check"><input type="checkbox" checked=${withToken} onChange=${(event) => setWithToken(event.target.checked)} />${t('try.withToken')}</label>`}
      <${Copy} text=${texts[language]} />
    </div>
  </details>`;
}
