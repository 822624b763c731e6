// Linking a phone: the QR code, renewed by itself, and the link code beside it.

import { routes } from './api.js';
import { html, useEffect, useRef, useState } from './html.js';
import { t } from './i18n.js';
import { useTick } from './store.js';
import { Copy, Problem, duration, useTask } from './ui.js';

export function LinkPhone({ instance, api, open, onOpen }) {
  const { reason } = instance;
  if (reason === 'registering') {
    return html`<section class="card link"><p role="status">${t('link.registering')}</p></section>`;
  }
  return html`<section class="card link" aria-labelledby="link">
    <h2 id="link">${t('link.title')}</h2>
    ${open
      ? html`<div class="ways">
          <${ByQr} instance=${instance} api=${api} onStop=${() => onOpen(false)} />
          <${ByCode} instance=${instance} api=${api} />
        </div>`
      : html`<p>${t('link.lead')}</p>
          <button type="button" class="primary" onClick=${() => onOpen(true)}>${t('link.start')}</button>`}
  </section>`;
}

/** Shows the current code, and asks for the next when it is over. It goes by itself when the phone is linked. */
function ByQr({ instance, api, onStop }) {
  const [qr, setQr] = useState(null);
  const [error, setError] = useState(null);
  const [asked, setAsked] = useState(0);
  const { name } = instance;
  useEffect(() => {
    const stop = new AbortController();
    let timer;
    const ask = async () => {
      try {
        const { answer, headers } = await api.call('GET', routes.connect(name), { signal: stop.signal });
        if (answer.status !== 'qr') return;
        const lasts = Math.max(1, Number(headers.get('x-qr-valid-for'))) * 1000;
        setQr({ png: answer.qrCodeBase64, until: performance.now() + lasts });
        timer = setTimeout(ask, lasts + 300);
      } catch (error) {
        if (error.name !== 'AbortError') setError(error);
      }
    };
    setError(null);
    ask();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [api, name, asked]);
  // After some codes the service stops by itself, as WhatsApp does.
  const isOver = instance.reason === 'pairing_expired' || error;
  useEffect(() => {
    if (isOver) setQr(null);
  }, [isOver]);
  return html`<div class="by-qr">
    <ol>
      <li>${t('link.step1')}</li>
      <li>${t('link.step2')}</li>
      <li>${t('link.step3')}</li>
    </ol>
    ${qr ? html`<${QrCode} png=${qr.png} /><${Renewal} until=${qr.until} />` : html`<div class="qr blank" role="status">${!isOver && t('link.waiting')}</div>`}
    <${Problem} error=${error} />
    <div class="buttons">
      ${isOver && html`<button type="button" class="primary" onClick=${() => setAsked(asked + 1)}>${t('app.retry')}</button>`}
      <button type="button" onClick=${onStop}>${t('link.stop')}</button>
    </div>
  </div>`;
}

/** Drawn on a canvas, so that no image from a `data:` address has to be allowed. */
function QrCode({ png }) {
  const canvas = useRef(null);
  useEffect(() => {
    let isCurrent = true;
    (async () => {
      const bytes = Uint8Array.from(atob(png.slice(png.indexOf(',') + 1)), (char) => char.charCodeAt(0));
      const image = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
      if (!isCurrent || !canvas.current) return;
      Object.assign(canvas.current, { width: image.width, height: image.height });
      canvas.current.getContext('2d').drawImage(image, 0, 0);
      canvas.current.dataset.drawn = png.length;
    })();
    return () => (isCurrent = false);
  }, [png]);
  return html`<canvas class="qr" ref=${canvas} role="img" aria-label=${t('link.qr')}></canvas>`;
}

function Renewal({ until }) {
  useTick(500);
  return html`<p class="renewal">${t('link.renews', { time: duration(until - performance.now()) })}</p>`;
}

function ByCode({ instance, api }) {
  const [code, setCode] = useState(null);
  const [task, run] = useTask(async (number) => {
    setCode(null);
    const { answer } = await api.call('GET', routes.connect(instance.name, number));
    setCode(answer.pairingCode ?? null);
  });
  const submit = (event) => {
    event.preventDefault();
    run(new FormData(event.target).get('number'));
  };
  return html`<div class="by-code">
    <h3>${t('link.codeTitle')}</h3>
    <p>${t('link.codeLead')}</p>
    <form onSubmit=${submit}>
      <label for="link-number">${t('link.codeNumber')}</label>
      <div class="joined">
        <input id="link-number" name="number" type="tel" inputmode="tel" required placeholder="+55 11 99999-9999" autocomplete="off" />
        <button disabled=${task.busy}>${t('link.codeGet')}</button>
      </div>
    </form>
    <${Problem} error=${task.error} />
    <div role="status">
      ${code &&
      html`<p>${t('link.codeIs')}</p>
        <div class="secret code"><code>${code}</code><${Copy} text=${code} /></div>`}
    </div>
  </div>`;
}
