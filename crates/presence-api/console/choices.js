// Language and colours. Both are remembered in the browser; the token is not.

import { html, useState } from './html.js';
import { choose, current, remember, remembered, t, tag } from './i18n.js';

const THEMES = ['auto', 'light', 'dark'];
const THEME = 'presence.theme';
const changed = new Set();

/** Puts language and colours on the page. */
export function applyChoices() {
  const theme = remembered(THEME);
  document.documentElement.lang = tag();
  document.documentElement.dataset.theme = THEMES.includes(theme) ? theme : 'auto';
}

/** Calls `listener` when the language is another. */
export function onLanguage(listener) {
  changed.add(listener);
}

export function Choices() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme);
  const chooseTheme = (event) => {
    remember(THEME, event.target.value);
    setTheme(event.target.value);
    applyChoices();
  };
  const chooseLanguage = (event) => {
    choose(event.target.value);
    applyChoices();
    changed.forEach((listener) => listener());
  };
  return html`
    <select aria-label=${t('app.language')} value=${current()} onChange=${chooseLanguage}>
      <option value="en" lang="en">English</option>
      <option value="pt" lang="pt-BR">Português</option>
    </select>
    <select aria-label=${t('app.theme')} value=${theme} onChange=${chooseTheme}>
      ${THEMES.map((name) => html`<option value=${name}>${t(`app.theme.${name}`)}</option>`)}
    </select>
  `;
}
