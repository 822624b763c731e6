// Drives Baileys: commands come as lines of JSON on standard input, what happens goes out as lines of JSON.
//
// usage: node baileys.mjs EDGE_URL EDGE_ROOT STATE_DIR
//
// Baileys lies in node_modules beside the working directory. It is told the sandbox's root in place of
// WhatsApp's; as shipped it ignores the result of its signature checks, so they are made to count here.

import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [url, root, state] = process.argv.slice(2)
const lib = (path) => import(pathToFileURL(join(process.cwd(), 'node_modules/@whiskeysockets/baileys/lib', path)))
const { default: makeWASocket, useMultiFileAuthState, fetchLatestBaileysVersion: _, Browsers } = await lib('index.js')
const { WA_CERT_DETAILS } = await lib('Defaults/index.js')
const { Curve } = await lib('Utils/crypto.js')
const require = createRequire(join(process.cwd(), 'package.json'))
const logger = require('pino')({ level: process.env.CLIENT_LOG ?? 'silent' }, require('pino').destination(2))

WA_CERT_DETAILS.PUBLIC_KEY.set(Buffer.from(root, 'base64'))
const verify = Curve.verify
let checks = 0
Curve.verify = (key, message, signature) => {
  const libsignal = require('libsignal')
  const good = verify(key, message, signature) && checked(libsignal, key, message, signature)
  checks += 1
  if (!good) throw new Error('a signature is wrong')
  return good
}

// The library's own check throws, or answers, by version; both count.
function checked(libsignal, key, message, signature) {
  const prefixed = key.length === 33 ? key : Buffer.concat([Buffer.from([5]), key])
  return libsignal.curve.verifySignature(prefixed, message, signature) !== false
}

const say = (event) => process.stdout.write(JSON.stringify(event) + '\n')
const text = (message) =>
  message?.conversation ??
  message?.extendedTextMessage?.text ??
  (message?.deviceSentMessage ? text(message.deviceSentMessage.message) : undefined)

let socket
let closing = false

// What is on its way to the disk. Its own store truncates a file and then fills it: a process that ends between the
// two finds no device in it at its next start.
const saves = new Set()
const saving = (save) => {
  saves.add(save)
  return save.finally(() => saves.delete(save))
}

async function connect() {
  const { state: auth, saveCreds } = await useMultiFileAuthState(state)
  const set = auth.keys.set
  auth.keys.set = (keys) => saving(set(keys))
  socket = makeWASocket({
    auth,
    logger,
    waWebSocketUrl: url,
    browser: Browsers.ubuntu('Chrome'),
    syncFullHistory: false,
    markOnlineOnConnect: false,
    defaultQueryTimeoutMs: 20_000,
  })
  socket.ev.on('creds.update', () => saving(saveCreds()))
  socket.ev.on('connection.update', ({ connection, lastDisconnect, qr, isNewLogin }) => {
    if (qr) say({ event: 'qr', qr })
    if (isNewLogin) say({ event: 'paired', jid: socket.authState.creds.me?.id, checks })
    if (connection === 'open') say({ event: 'open', jid: socket.authState.creds.me?.id, lid: socket.authState.creds.me?.lid })
    if (connection === 'close') {
      const code = lastDisconnect?.error?.output?.statusCode ?? 0
      say({ event: 'closed', code, text: String(lastDisconnect?.error?.message ?? '') })
      // As its documentation asks of those who use it.
      if (code === 515 && !closing) connect()
    }
  })
  socket.ev.on('presence.update', ({ id, presences }) => {
    for (const [from, { lastKnownPresence }] of Object.entries(presences)) {
      say({ event: 'presence', chat: id, from, state: lastKnownPresence })
    }
  })
  socket.ev.on('messages.upsert', ({ messages }) => {
    for (const { key, message } of messages) {
      const found = text(message)
      if (found !== undefined) say({ event: 'message', chat: key.remoteJid, from: key.participant ?? '', me: !!key.fromMe, text: found })
    }
  })
}

const commands = {
  connect,
  code: async ({ number }) => say({ event: 'code', code: await socket.requestPairingCode(number) }),
  show: ({ to, state }) => socket.sendPresenceUpdate(state, to),
  available: ({ on }) => socket.sendPresenceUpdate(on ? 'available' : 'unavailable'),
  subscribe: ({ to }) => socket.presenceSubscribe(to),
  look_up: async ({ number }) => {
    const [found] = (await socket.onWhatsApp(number)) ?? []
    say({ event: 'looked_up', exists: !!found?.exists, jid: found?.jid ?? '' })
  },
  group: async ({ group }) => {
    const { subject, participants } = await socket.groupMetadata(group)
    say({ event: 'group', subject, size: participants.length })
  },
  text: async ({ to, text }) => {
    const sent = await socket.sendMessage(to, { text })
    say({ event: 'sent', id: sent.key.id })
  },
  logout: () => socket.logout(),
  quit: () => {
    closing = true
    socket?.end(undefined)
    setTimeout(async () => {
      while (saves.size) await Promise.allSettled(saves)
      process.exit(0)
    }, 200)
  },
}

process.on('unhandledRejection', (error) => say({ event: 'error', text: String(error?.stack ?? error) }))
createInterface({ input: process.stdin }).on('line', async (line) => {
  const command = JSON.parse(line)
  try {
    await commands[command.do](command)
  } catch (error) {
    say({ event: 'error', of: command.do, text: String(error?.message ?? error) })
  }
}).on('close', () => process.exit(0))
say({ event: 'ready' })
