// The page's words, in English and in Brazilian Portuguese.

import en from './words-en.js';
import pt from './words-pt.js';

const LANGUAGES = { en, pt };
const TAGS = { en: 'en', pt: 'pt-BR' };

let language = remembered('presence.language') ?? (navigator.language.toLowerCase().startsWith('pt') ? 'pt' : 'en');

/** The language: `en` or `pt`. */
export const current = () => (language in LANGUAGES ? language : 'en');

export function choose(next) {
  language = next;
  remember('presence.language', next);
}

/** The tag of the language, for `lang` and for dates. */
export const tag = () => TAGS[current()];

/** The words of this name, `{x}` replaced by `values.x`. */
export function t(name, values = {}) {
  const words = LANGUAGES[current()][name] ?? en[name] ?? name;
  return words.replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
}

/** `one` for 1, else `many`. */
export const count = (number, name) => t(`${name}.${number === 1 ? 'one' : 'many'}`, { n: number.toLocaleString(tag()) });

/** Whether there are words of this name. */
export const has = (name) => name in en;

/** What to say to a person of an error that the API answered, and what to do about it. */
export function explain(error) {
  if (error.status === 0) return t('error.unreachable');
  const cannot = /^Instance cannot connect: (.*)$/s.exec(error.message);
  if (cannot) return t('error.cannotConnect', { why: cannot[1] });
  const name = `error.${error.message.split(/[.—]/)[0].trim()}`;
  return has(name) ? t(name) : t('error.other', { message: error.message });
}

export function remembered(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Then it is chosen anew the next time.
  }
}
