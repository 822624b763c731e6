// Links a phone: asks the page's own address for the current code, again and again, and shows what it is told. All words
// are in the page.

/** How often it is asked: a new code comes every 20 s, and that a phone was linked should be seen soon. */
const POLL = 3000;

const part = (id) => document.getElementById(id);
const form = part('form');
let drawn;

function show(state) {
  for (const element of document.querySelectorAll('[data-state]')) element.hidden = element.dataset.state !== state;
}

/** The answer to `body`, or its status alone. */
async function ask(body) {
  const options = { method: 'POST', body: JSON.stringify(body), cache: 'no-store', credentials: 'omit' };
  const response = await fetch(location.pathname, options).catch(() => ({ status: 0 }));
  return response.ok ? response.json() : { failed: response.status };
}

/** Drawn on a canvas, so that no image from a `data:` address has to be allowed. */
async function draw(png) {
  if (png === drawn) return;
  const bytes = Uint8Array.from(atob(png.slice(png.indexOf(',') + 1)), (char) => char.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
  const canvas = Object.assign(part('qr'), { width: image.width, height: image.height });
  canvas.getContext('2d').drawImage(image, 0, 0);
  canvas.dataset.drawn = 'yes';
  drawn = png;
}

async function follow() {
  for (;;) {
    const { status, qrCodeBase64, failed } = await ask({});
    if (status === 'connected') return show('linked');
    if (failed === 404) return show('over');
    if (status === 'qr') {
      await draw(qrCodeBase64);
      show('code');
    } else {
      show('failed');
    }
    await new Promise((done) => setTimeout(done, POLL));
  }
}

form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const button = form.querySelector('button');
  button.disabled = true;
  const { pairingCode, failed } = await ask({ number: part('number').value });
  button.disabled = false;
  part('wrong').hidden = failed !== 400;
  part('none').hidden = !failed || failed === 400;
  part('given').hidden = !pairingCode;
  part('code').textContent = pairingCode ?? '';
});

follow();
