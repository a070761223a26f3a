// What the one other dedicated service does: Fastify, fetch, CORS for any origin, no authentication.

import cors from '@fastify/cors'
import { fastify } from 'fastify'

const app = fastify()
await app.register(cors, { origin: '*' })
app.post('/v1/realtime/client_secrets', async (request) => {
  const upstream = await fetch(`${process.env.UPSTREAM}/v1/realtime/client_secrets`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${process.env.OPENAI_API_KEY}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(request.body ?? {})
  })
  return upstream.json()
})
await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
process.send?.('listening')
