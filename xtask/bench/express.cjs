// An express server that only parses and answers: more than any gateway that is written with it can do.
const { createRequire } = require('node:module')
const { join } = require('node:path')
const express = createRequire(join(process.cwd(), 'package.json'))('express')

const app = express()
app.use(express.json())
app.post('/api/chat/presence/:instance', ({ body: { number, state, duration } }, response) => {
  response.json({
    success: true,
    message: `Presence '${state}' sent successfully (will auto-pause after ${duration} seconds)`,
    chat_jid: `${number}@s.whatsapp.net`,
    state,
    duration,
  })
})
const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})
process.on('SIGTERM', () => process.exit(0))
