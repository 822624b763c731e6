// Numbers of people: masked until somebody wants to see one.

import { html, useState } from './html.js';
import { t } from './i18n.js';

/** `+55 •••• 99`: enough to tell two apart, and to read to nobody. */
export function masked(jid) {
  const [user, server] = jid.split('@');
  const plus = server === 's.whatsapp.net' ? '+' : '';
  const kind = server === 'g.us' ? `${t('number.group')} ` : server === 'lid' ? 'LID ' : '';
  return `${kind}${plus}${user.slice(0, 2)} •••• ${user.slice(-2)}`;
}

/** The whole number, in groups that can be read. */
export function written(jid) {
  const [user, server] = jid.split('@');
  if (server !== 's.whatsapp.net') return jid;
  const brazil = /^55(\d\d)(\d{4,5})(\d{4})$/.exec(user);
  if (brazil) return `+55 ${brazil[1]} ${brazil[2]}-${brazil[3]}`;
  return `+${user.replace(/\B(?=(\d{4})+(?!\d))/g, ' ')}`;
}

/** A number that is shown when it is clicked. */
export function Number({ jid }) {
  const [open, setOpen] = useState(false);
  return html`<button
    type="button"
    class="number"
    aria-pressed=${open}
    title=${t(open ? 'number.hide' : 'number.show')}
    onClick=${() => setOpen(!open)}
  >
    ${open ? written(jid) : masked(jid)}
  </button>`;
}
