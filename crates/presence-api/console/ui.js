// Small pieces that every part of the page uses.

import { html, useEffect, useRef, useState } from './html.js';
import { explain, t } from './i18n.js';

const PATHS = {
  plus: 'M12 5v14M5 12h14',
  back: 'M15 5l-7 7 7 7',
  search: 'M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM20 20l-4-4',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  check: 'M5 13l4 4L19 7',
  eye: 'M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12zM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6z',
  mic: 'M12 15a3 3 0 0 0 3-3V6a3 3 0 0 0-6 0v6a3 3 0 0 0 3 3zM6 11v1a6 6 0 0 0 12 0v-1M12 18v3',
  grid: 'M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z',
};

/** A drawing that says nothing a screen reader would miss. */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}

export function Logo() {
  return html`<svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
    <path d="M16 3C8.3 3 2 8.5 2 15.2c0 3.4 1.6 6.4 4.2 8.6L5 29.5l6.6-2.6c1.4.4 2.9.6 4.4.6 7.7 0 14-5.5 14-12.3S23.7 3 16 3z" />
    <circle cx="9.5" cy="15.3" r="2.3" /><circle cx="16" cy="15.3" r="2.3" /><circle cx="22.5" cy="15.3" r="2.3" />
  </svg>`;
}

/** Three dots that move, or a pulsing one: what a phone shows. */
export function Dots({ state }) {
  return state === 'recording'
    ? html`<span class="pulse" aria-hidden="true"></span>`
    : html`<span class="dots" aria-hidden="true"><i></i><i></i><i></i></span>`;
}

export function Copy({ text, label = t('app.copy') }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button type="button" class="quiet small" onClick=${copy}>
    <${Icon} name=${done ? 'check' : 'copy'} /><span role="status">${done ? t('app.copied') : label}</span>
  </button>`;
}

/** What went wrong, in words, with what the service said exactly. */
export function Problem({ error }) {
  if (!error) return null;
  return html`<p class="problem" role="alert">
    ${explain(error)} ${error.detail && html`<span class="detail">${error.detail}</span>`}
  </p>`;
}

/** A dialog; the browser keeps the focus in it, and Esc closes it. */
export function Dialog({ title, onClose, children }) {
  const dialog = useRef(null);
  useEffect(() => {
    dialog.current.showModal();
  }, []);
  return html`<dialog ref=${dialog} onClose=${onClose} aria-labelledby="dialog-title">
    <h2 id="dialog-title">${title}</h2>
    ${children}
  </dialog>`;
}

/** Asks before something that cannot be taken back. `act` may fail; then the dialog says why. */
export function Confirm({ title, text, verb, act, onClose }) {
  const [task, run] = useTask(act);
  const confirm = async () => (await run()) && onClose();
  return html`<${Dialog} title=${title} onClose=${onClose}>
    <p>${text}</p>
    <${Problem} error=${task.error} />
    <div class="buttons">
      <button type="button" onClick=${onClose}>${t('app.cancel')}</button>
      <button type="button" class="danger" disabled=${task.busy} onClick=${confirm}>${verb}</button>
    </div>
  <//>`;
}

/** Something that takes a while and may fail: `[{ busy, error }, run]`. `run` says whether it succeeded. */
export function useTask(act) {
  const [task, setTask] = useState({ busy: false, error: null });
  const run = async (...args) => {
    setTask({ busy: true, error: null });
    try {
      await act(...args);
      setTask({ busy: false, error: null });
      return true;
    } catch (error) {
      setTask({ busy: false, error: error.name === 'AbortError' ? null : error });
      return false;
    }
  };
  return [task, run];
}

/** A wait in its two largest units. */
export function duration(ms) {
  const all = Math.max(0, Math.ceil(ms / 1000));
  const [d, h, m, s] = [Math.floor(all / 86_400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60, all % 60];
  if (d) return t('time.days', { d, h });
  if (h) return t('time.hours', { h, m });
  return m ? t('time.minutes', { m, s }) : t('time.seconds', { n: s });
}
