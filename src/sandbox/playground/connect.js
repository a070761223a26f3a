// Connects to the Realtime API with the client secret, without Ephemint. Both functions return {send, close}.

import { openLine, openMicrophone } from './line.js'

const NO_PATH = 'No network path was found. A browser that does not connect to 127.0.0.1 by WebRTC can use the ' +
  'WebSocket.'

/** Throws an Error with a message for the user if the call is refused. */
export async function connectByWebRtc ({ url, secret, microphone, ...handlers }) {
  const line = await openLine({ voice: microphone ? await openMicrophone() : null, hasEvents: true })
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { Authorization: `Bearer ${secret}`, 'Content-Type': 'application/sdp' },
      body: line.offer
    })
    if (!answer.ok) throw new Error(await refusalOf(answer))
    await line.take(await answer.text(), { ...handlers, onNoPath: () => handlers.onEnd(NO_PATH) })
  } catch (error) {
    line.close()
    throw error
  }
  return line
}

/** A page cannot see why a WebSocket was refused. */
export function connectByWebSocket ({ url, secret, query, onEvent, onOpen, onEnd }) {
  const socketUrl = new URL(url.replace(/^http/, 'ws').replace(/\/calls$/, ''))
  for (const [name, value] of Object.entries(query)) socketUrl.searchParams.set(name, value)
  const socket = new WebSocket(socketUrl, ['realtime', `openai-insecure-api-key.${secret}`])
  let wasOpen = false
  socket.onopen = () => { wasOpen = true; onOpen() }
  socket.onmessage = ({ data }) => onEvent(JSON.parse(data))
  socket.onclose = () =>
    onEnd(wasOpen ? 'The connection is closed.' : 'The connection was refused: the secret may have expired.')
  return { send: (event) => socket.send(JSON.stringify(event)), close: () => socket.close() }
}

async function refusalOf (answer) {
  const { error } = await answer.json().catch(() => ({}))
  const reason = error?.code === 'invalid_api_key'
    ? 'the secret has expired.'
    : error?.message ?? 'no reason was given.'
  return `The call was refused with ${answer.status}: ${reason}`
}
