// What OpenAI's console sample does: Express, global fetch, the session config in the code, no authentication.

import express from 'express'

const app = express()
const session = JSON.stringify(
  { session: { type: 'realtime', model: 'gpt-realtime-2.1', audio: { output: { voice: 'marin' } } } }
)

app.get('/token', async (_request, response) => {
  const upstream = await fetch(`${process.env.UPSTREAM}/v1/realtime/client_secrets`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${process.env.OPENAI_API_KEY}`, 'Content-Type': 'application/json' },
    body: session
  })
  response.json(await upstream.json())
})
app.listen(Number(process.env.PORT), '127.0.0.1', () => process.send?.('listening'))
