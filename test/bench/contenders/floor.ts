// The minimum in Node.js: node:http and undici add the key; no authentication, no policy.

import { createServer } from 'node:http'
import { Pool } from 'undici'

const pool = new Pool(process.env.UPSTREAM as string, { connections: 256 })
const headers = { authorization: `Bearer ${process.env.OPENAI_API_KEY}`, 'content-type': 'application/json' }

createServer(async (request, response) => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  const upstream = await pool.request(
    { method: 'POST', path: '/v1/realtime/client_secrets', headers, body: Buffer.concat(chunks) }
  )
  response.writeHead(upstream.statusCode, { 'content-type': 'application/json' })
  response.end(await upstream.body.text())
}).listen(Number(process.env.PORT), '127.0.0.1', () => process.send?.('listening'))
