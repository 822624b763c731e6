// The console and the API page in a real browser, against a server and a sandbox. `cargo xtask console-test` starts all three.
//
//   node test.mjs <json>      { server, control, token, chromium, pictures }
//
// Whatever a person would do is done by what a person sees: roles, labels, and the QR code as it is on the screen.

import { createRequire } from 'node:module';
import { join } from 'node:path';

// The packages lie beside the working directory.
const require = createRequire(join(process.cwd(), 'package.json'));
const { AxeBuilder } = require('@axe-core/playwright');
const jsQR = require('jsqr');
const { PNG } = require('pngjs');
const { chromium } = require('playwright-core');

const { server, control, token, chromium: executablePath, pictures } = JSON.parse(process.argv[2]);
const SHOP = '5511988887777';
const CUSTOMER = '14155550123';
/** The longest that anything may take: the machine may be busy with other things. */
const PATIENCE = 60_000;

const browser = await chromium.launch({
  executablePath,
  timeout: 3 * PATIENCE,
  // The sandbox of Chromium needs a user who is not root; the pages are our own.
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
});
const problems = [];
let step = 'begin';

async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, locale: 'en-US', ...options });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.on('console', (message) => message.type() === 'error' && note(`console: ${message.text()}`));
  page.on('pageerror', (error) => note(`page: ${error.stack}`));
  page.on('request', (request) => {
    const { hostname, protocol } = new URL(request.url());
    if (hostname !== '127.0.0.1' || protocol !== 'http:') note(`a request left loopback: ${request.url()}`);
    if (request.url().includes(token)) note('the token is in an address');
  });
  return page;
}

function note(problem) {
  // A wrong token is answered with 401, which Chromium writes to its console.
  if (step === 'a wrong token' && problem.includes('401')) return;
  // And so it is with what is no number, and with a link that is void.
  if (step === 'a number that is none' && problem.includes('400')) return;
  if (step === 'a link that is void' && problem.includes('404')) return;
  problems.push(`${step}: ${problem}`);
}

async function during(name, act) {
  step = name;
  const began = Date.now();
  try {
    await act();
  } catch (error) {
    throw new Error(`${name}: ${error.stack}`, { cause: error });
  }
  console.log(`  ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
}

function ensure(holds, what) {
  if (!holds) throw new Error(what);
}

/** No violation of what axe knows, in light and in dark. */
async function audit(page) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    const { violations } = await new AxeBuilder({ page }).analyze();
    for (const violation of violations) {
      const nodes = violation.nodes.map((node) => `${node.html}\n      ${node.failureSummary}`);
      note(`axe, ${colorScheme}: ${violation.id}: ${nodes.join('\n    ')}`);
    }
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: null });
}

async function picture(page, name) {
  if (pictures) await page.screenshot({ path: `${pictures}/${name}.png` });
}

async function ask(path, body, method = body ? 'POST' : 'GET') {
  const options = { method, body: body && JSON.stringify(body) };
  const response = await fetch(`${control}${path}`, options);
  ensure(response.ok, `${path} answered ${response.status}: ${await response.clone().text()}`);
  return response.status === 204 ? undefined : response.json();
}

/** Decodes the QR code that is on the screen. */
async function read(canvas) {
  const { data, width, height } = PNG.sync.read(await canvas.screenshot());
  return jsQR(new Uint8ClampedArray(data), width, height)?.data;
}

/** Scans the QR code that is on the screen. It is replaced every 20 s, so on a busy machine one may be void when it is scanned. */
async function scan(canvas) {
  for (let tries = 1; ; tries++) {
    const qr = await read(canvas);
    try {
      ensure(qr?.startsWith('2@'), `what is on the screen is no code of WhatsApp: ${qr}`);
      await ask(`/v1/phones/${SHOP}/scan`, { qr });
      return;
    } catch (error) {
      if (tries === 10) throw error;
    }
  }
}

async function signIn(page, value) {
  await page.goto(`${server}/`);
  await page.getByLabel('Token', { exact: true }).fill(value);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

const instance = (page) => page.getByRole('main');
const shown = (page) => page.getByRole('region', { name: 'Shown now' });

async function main() {
  const page = await open();

  await during('the way from / to the console', async () => {
    const response = await page.goto(`${server}/`);
    ensure(page.url() === `${server}/console`, `it is at ${page.url()}`);
    const policy = response.headers()['content-security-policy'];
    ensure(policy.startsWith("default-src 'self';") && policy.includes("frame-ancestors 'none'"), policy);
    ensure(!/unsafe|data:/.test(policy), policy);
    await page.getByRole('heading', { name: 'Presence' }).waitFor();
    await audit(page);
    await picture(page, 'console-sign-in');
  });

  await during('a wrong token', async () => {
    // The second is what a page that shortens texts is copied from; no header can carry it.
    for (const wrong of ['not-a-token-of-anybody', 'pa_CJERsp…']) {
      await signIn(page, wrong);
      await page.getByRole('alert').filter({ hasText: 'not valid' }).waitFor();
    }
  });

  await during('signing in', async () => {
    await signIn(page, token);
    await page.getByText('Live', { exact: true }).waitFor();
    await page.getByRole('heading', { name: 'No instance yet' }).waitFor();
    await audit(page);
    const cookies = await page.context().cookies();
    ensure(cookies.length === 0, 'there is a cookie');
    await page.reload();
    await page.getByText('Live', { exact: true }).waitFor();
  });

  await during('creating an instance', async () => {
    await page.getByRole('main').getByRole('button', { name: 'New instance' }).click();
    await page.getByLabel('Name').fill('no such name!');
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.getByRole('main').getByRole('button', { name: 'New instance' }).click();
    await page.getByLabel('Name').fill('shop');
    await audit(page);
    await page.keyboard.press('Enter');
    const made = page.getByRole('dialog', { name: '“shop” is created' });
    ensure((await made.locator('code').innerText()).length >= 16, 'no token is shown');
    await made.getByRole('button', { name: 'Link a phone' }).click();
    await page.getByRole('heading', { name: 'shop' }).waitFor();
    await page.getByText('No phone is linked yet.').first().waitFor();
  });

  await during('linking by the QR code on the screen', async () => {
    await page.getByRole('button', { name: 'Show the QR code' }).click();
    const canvas = page.getByRole('img', { name: 'QR code to scan with WhatsApp' });
    await page.locator('canvas[data-drawn]').waitFor();
    await page.getByText(/New code in \d+ s/).waitFor();
    await page.getByText('Waiting for a phone', { exact: true }).waitFor();
    await audit(page);
    await picture(page, 'console-link');
    await page.getByLabel('Phone number with country code').fill('+55 11 98888-7777');
    await page.getByRole('button', { name: 'Get a code' }).click();
    const code = await page.locator('.secret.code code').innerText();
    ensure(/^[A-Z0-9]{4}-[A-Z0-9]{4}$/.test(code), code);
    await scan(canvas);
    await instance(page).getByText('Connected', { exact: true }).waitFor();
    await canvas.waitFor({ state: 'detached' });
  });

  await during('trying it, and seeing it come', async () => {
    await page.getByLabel('To', { exact: true }).fill(`+${CUSTOMER}`);
    // As long as a busy machine may take to look at it.
    await page.locator('#try-duration').fill('40');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByText('will auto-pause after 40 seconds').waitFor();
    await shown(page).getByText('typing…').waitFor();
    const phone = await ask(`/v1/phones/${CUSTOMER}/shown`);
    ensure(phone.now[0]?.state === 'typing', 'the phone does not show it');
    const number = shown(page).getByRole('button', { name: '+14 •••• 23', exact: true });
    await number.click();
    await shown(page).getByRole('button', { name: '+141 5555 0123' }).waitFor();
    await audit(page);
  });

  await during('seeing it go', async () => {
    await shown(page).getByText('Nobody sees anything right now.').waitFor();
    const { timeline } = await ask(`/v1/phones/${CUSTOMER}/shown`);
    ensure(timeline[0].why === 'paused', JSON.stringify(timeline));
    await page.getByRole('img', { name: 'Timeline of the last five minutes: 1 presence' }).waitFor();
    await page.locator('summary', { hasText: 'As a list' }).click();
    await page.getByRole('cell', { name: 'typing…' }).waitFor();
  });

  await during('ending one by hand', async () => {
    await page.getByText('Recording', { exact: true }).first().click();
    await page.locator('#try-duration').fill('60');
    await page.getByRole('button', { name: 'Send' }).click();
    await shown(page).getByText('recording audio…').waitFor();
    await shown(page).getByRole('button', { name: /^End recording audio… for/ }).click();
    await shown(page).getByText('Nobody sees anything right now.').waitFor();
    const { now, timeline } = await ask(`/v1/phones/${CUSTOMER}/shown`);
    ensure(now.length === 0 && timeline.at(-1).why === 'paused', JSON.stringify(timeline));
  });

  await during('the same call from a program', async () => {
    await page.locator('summary', { hasText: 'The same from your program' }).click();
    const code = page.locator('details.code pre');
    for (const [language, word] of [['Python', 'requests.post'], ['TypeScript', 'await fetch'], ['n8n', 'httpRequest'], ['curl', 'curl -X POST']]) {
      await page.locator('details.code label', { hasText: language }).click();
      await code.filter({ hasText: word }).waitFor();
    }
    ensure((await code.innerText()).includes('$PRESENCE_TOKEN'), 'the token is shown without being asked for');
    await page.getByLabel('Put the token in').check();
    ensure(!(await code.innerText()).includes('$PRESENCE_TOKEN'), 'the token is not put in');
    await page.getByLabel('Put the token in').uncheck();
    await audit(page);
  });

  await during('the API page, and a call tried there', async () => {
    const docs = await open();
    const response = await docs.goto(await page.getByRole('link', { name: 'API description' }).evaluate((link) => link.href));
    ensure(docs.url() === `${server}/docs`, `the console's link leads to ${docs.url()}`);
    const policy = response.headers()['content-security-policy'];
    ensure(policy.startsWith("default-src 'self';") && policy.includes("frame-ancestors 'none'"), policy);
    await docs.getByText('Authentication', { exact: true }).click();
    const scheme = docs.locator('tr', { hasText: 'API Key (token)' });
    await scheme.getByPlaceholder('api-token').fill(token);
    await scheme.getByRole('button', { name: 'SET' }).click();
    await docs.getByText('Show or end an indicator').first().click();
    await docs.locator('#request-param-instance').fill('shop');
    await docs.getByRole('button', { name: 'BODY', exact: true }).first().click();
    const body = { number: CUSTOMER, state: 'typing', duration: 60 };
    await docs.getByLabel('REQUEST BODY').fill(JSON.stringify(body));
    await docs.getByRole('button', { name: 'EXECUTE' }).click();
    await docs.getByText('will auto-pause after 60 seconds').first().waitFor();
    await shown(page).getByText('typing…').waitFor();
    await shown(page).getByRole('button', { name: /^End typing… for/ }).click();
    await shown(page).getByText('Nobody sees anything right now.').waitFor();
    await docs.context().close();
  });

  if (pictures) {
    await during('pictures', async () => {
      for (const [number, state, duration, wait] of [['5521988881234', 'typing', 6, 7], ['447700900123', 'recording', 9, 4], ['5511999999999', 'typing', 50, 3], [CUSTOMER, 'recording', 40, 2]]) {
        await page.getByLabel('To', { exact: true }).fill(`+${number}`);
        await page.getByText(state === 'typing' ? 'Typing' : 'Recording', { exact: true }).first().click();
        await page.locator('#try-duration').fill(String(duration));
        await page.getByRole('button', { name: 'Send' }).click();
        await page.waitForTimeout(wait * 1000);
      }
      await picture(page, 'console-instance');
      await page.getByRole('link', { name: 'Overview' }).click();
      await page.waitForTimeout(500);
      await picture(page, 'console');
      await page.emulateMedia({ colorScheme: 'dark' });
      await page.getByLabel('Language').selectOption('pt');
      await page.setViewportSize({ width: 390, height: 844 });
      await page.waitForTimeout(500);
      await page.screenshot({ path: `${pictures}/console-phone.png`, fullPage: false });
      await page.setViewportSize({ width: 1280, height: 900 });
      await page.emulateMedia({ colorScheme: 'light' });
      await page.getByLabel('Idioma').selectOption('en');
      await page.getByRole('link', { name: /^shop/ }).first().click();
    });
  }

  const reconnect = async () => {
    const connected = instance(page).getByText('Connected', { exact: true });
    // Sessions are reopened once in ten seconds at most.
    for (let tries = 0; tries < 12 && !(await connected.isVisible()); tries++) {
      // It is not there while the session tries by itself.
      await page.getByRole('button', { name: 'Reconnect' }).click({ timeout: 5000 }).catch(() => {});
      await connected.waitFor({ timeout: 5000 }).catch(() => {});
    }
    await connected.waitFor();
  };

  await during('seeing why a session is down', async () => {
    await ask('/v1/faults', { kind: 'failure', reason: 503, account: SHOP, when: 'login' });
    await ask(`/v1/phones/${SHOP}/drop`, {});
    await instance(page).getByText(/The connection was lost\.|WhatsApp refuses the session for now\./).waitFor();
    await audit(page);
    await ask('/v1/faults', undefined, 'DELETE');
    await reconnect();
    const replaced = instance(page).getByText('The same device connected elsewhere.');
    for (let tries = 1; ; tries++) {
      // It meets nobody where the session is just opened anew, as it may be after that click.
      await ask('/v1/faults', { kind: 'replaced', account: SHOP });
      try {
        await replaced.waitFor({ timeout: 10000 });
        break;
      } catch (error) {
        if (tries === 6) throw error;
      }
    }
    await audit(page);
  });

  await during('reconnecting', reconnect);

  await during('logging out', async () => {
    await page.getByRole('button', { name: 'Log out' }).click();
    const dialog = page.getByRole('dialog', { name: 'Log out “shop”?' });
    await dialog.getByRole('button', { name: 'Log out' }).click();
    await instance(page).getByText('It was logged out. Link a phone to use it again.').waitFor();
    ensure((await ask(`/v1/phones/${SHOP}`)).devices === 0, 'the device is still linked');
    await audit(page);
  });

  await during('the page in Portuguese, and as narrow as a phone', async () => {
    await page.getByLabel('Language').selectOption('pt');
    await page.getByRole('heading', { name: 'Conectar um celular' }).waitFor();
    ensure((await page.locator('html').getAttribute('lang')) === 'pt-BR', 'the page does not say its language');
    await page.setViewportSize({ width: 390, height: 844 });
    await page.getByRole('link', { name: 'Todas as instâncias' }).click();
    await page.getByRole('link', { name: /^shop/ }).waitFor();
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    ensure(overflow <= 0, `the page is ${overflow} px too wide`);
    await audit(page);
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.getByLabel('Idioma').selectOption('en');
  });

  const pairingLink = async (method) => {
    const response = await fetch(`${server}/api/instance/pairing-link/shop`, { method, headers: { token } });
    return (await response.json()).url;
  };

  await during('linking by a link, on a page in Portuguese and without a token', async () => {
    const url = await pairingLink('POST');
    const customer = await open({ locale: 'pt-BR', viewport: { width: 390, height: 844 } });
    const response = await customer.goto(url);
    const headers = response.headers();
    ensure(headers['content-security-policy'].startsWith("default-src 'self';"), headers['content-security-policy']);
    ensure(headers['referrer-policy'] === 'no-referrer' && headers['cache-control'] === 'no-store', JSON.stringify(headers));
    await customer.getByRole('heading', { name: 'Conecte seu WhatsApp' }).waitFor();
    await customer.locator('canvas[data-drawn]').waitFor();
    ensure(!(await customer.content()).includes('shop'), 'the page tells which instance it is');
    const overflow = await customer.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    ensure(overflow <= 0, `the page is ${overflow} px too wide`);
    await customer.getByLabel('Número de telefone').fill('12');
    step = 'a number that is none';
    await customer.getByRole('button', { name: 'Pedir código' }).click();
    await customer.getByRole('alert').filter({ hasText: 'não é um número' }).waitFor();
    await customer.getByLabel('Número de telefone').fill('+55 11 98888-7777');
    await customer.getByRole('button', { name: 'Pedir código' }).click();
    await customer.locator('#code', { hasText: /^[A-Z0-9]{4}-[A-Z0-9]{4}$/ }).waitFor();
    await audit(customer);
    await picture(customer, 'pairing-link');
    await scan(customer.getByRole('img', { name: 'QR code para ler com o WhatsApp' }));
    await customer.getByText('Conectado. Você já pode fechar esta página.').waitFor();
    await audit(customer);
    await customer.context().close();
  });

  await during('a link that is void', async () => {
    const url = await pairingLink('POST');
    await pairingLink('DELETE');
    const customer = await open();
    await customer.goto(url);
    await customer.getByText('This link is not valid any more.').waitFor();
    await audit(customer);
    await customer.context().close();
  });

  await during('deleting by keyboard', async () => {
    await page.getByRole('link', { name: /^shop/ }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Delete' }).focus();
    await page.keyboard.press('Enter');
    await page.getByRole('dialog', { name: 'Delete “shop”?' }).waitFor();
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'No instance yet' }).waitFor();
  });

  await during('signing out', async () => {
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('button', { name: 'Sign in' }).waitFor();
    ensure((await page.evaluate(() => sessionStorage.length)) === 0, 'something is left of the session');
    await page.reload();
    await page.getByRole('button', { name: 'Sign in' }).waitFor();
  });
}

try {
  await main();
} catch (error) {
  problems.push(error.message);
}
await browser.close();
for (const problem of problems) console.error(`  NO: ${problem}`);
process.exitCode = problems.length ? 1 : 0;
