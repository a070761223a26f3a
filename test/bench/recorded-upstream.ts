// Answers with a recorded mint after DELAY_MS, over HTTP or, with KEY and CERT, TLS. Counts its sockets.

import { readFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'

const recorded = JSON.parse(readFileSync(new URL('../fixtures/mint.json', import.meta.url), 'utf8'))
let delayMs = 0
let mints = 0
let sockets = 0

const answer: RequestListener = (request, response) => {
  request.resume()
  request.once('end', () => {
    if (request.method === 'POST') mints++
    const send = () => {
      response.writeHead(200, { 'content-type': 'application/json', 'x-request-id': 'req_bench' })
      response.end(JSON.stringify({ ...recorded, expires_at: Math.floor(Date.now() / 1000) + 60 }))
    }
    if (delayMs === 0) send()
    else setTimeout(send, delayMs)
  })
}

const { KEY, CERT } = process.env
const server = KEY && CERT
  ? createTlsServer({ key: readFileSync(KEY), cert: readFileSync(CERT) }, answer)
  : createServer(answer)
server.on(KEY ? 'secureConnection' : 'connection', () => { sockets++ })
server.keepAliveTimeout = 60_000
server.listen(Number(process.env.PORT), '127.0.0.1', () => process.send?.('listening'))

process.on('message', (message: { delayMs?: number }) => {
  if (message.delayMs !== undefined) delayMs = message.delayMs
  process.send?.({ mints, sockets })
})
