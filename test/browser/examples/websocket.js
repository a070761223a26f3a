export function connect ({ value, session, realtimeUrl }, onEvent) {
  const url = new URL(realtimeUrl.replace(/^http/, 'ws').replace(/\/calls$/, ''))
  url.searchParams.set('model', session.model)
  // A page cannot set headers here, so the secret goes as a subprotocol.
  const socket = new WebSocket(url, ['realtime', `openai-insecure-api-key.${value}`])
  socket.onmessage = ({ data }) => onEvent(JSON.parse(data))
  return { send: (event) => socket.send(JSON.stringify(event)), close: () => socket.close() }
}
