// Preact with tagged templates: `html` in place of JSX, so that there is no build step.
import { h } from './vendor/preact.mjs';
import htm from './vendor/htm.module.js';

export { render } from './vendor/preact.mjs';
export { useCallback, useEffect, useMemo, useRef, useState } from './vendor/hooks.mjs';
export const html = htm.bind(h);
