// With the secret straight to the Realtime API, past Ephemint. Each gives {send, close}; events and the end are told.

/** Throws an Error in words where the call is not taken. */
export async function connectByWebRtc ({ url, secret, microphone, onEvent, onOpen, onEnd }) {
  const media = microphone ? await listen() : null
  const peer = new RTCPeerConnection()
  // Even where nobody speaks, a call has a line for the voice.
  if (media === null) peer.addTransceiver('audio')
  else for (const track of media.getTracks()) peer.addTrack(track, media)
  const speaker = new Audio()
  speaker.autoplay = true
  peer.ontrack = ({ streams: [stream] }) => { if (stream !== undefined) speaker.srcObject = stream }

  const channel = peer.createDataChannel('oai-events')
  const close = () => {
    for (const track of media?.getTracks() ?? []) track.stop()
    channel.close()
    peer.close()
  }
  channel.onopen = onOpen
  channel.onmessage = ({ data }) => onEvent(JSON.parse(data))
  channel.onclose = () => onEnd('The call is over.')
  // Whoever knows better why it ended says so alone.
  const fail = () => {
    channel.onclose = null
    close()
  }
  peer.onconnectionstatechange = () => {
    if (peer.connectionState !== 'failed') return
    fail()
    onEnd(
      'No path to the other side was found. A browser that does not connect to 127.0.0.1 can still take the WebSocket.'
    )
  }

  try {
    await peer.setLocalDescription()
    const answer = await fetch(url, {
      method: 'POST',
      headers: { Authorization: `Bearer ${secret}`, 'Content-Type': 'application/sdp' },
      body: peer.localDescription.sdp
    })
    if (!answer.ok) throw new Error(await refusalOf(answer))
    await peer.setRemoteDescription({ type: 'answer', sdp: await answer.text() })
  } catch (error) {
    fail()
    throw error
  }
  return { send: (event) => channel.send(JSON.stringify(event)), close }
}

/** A WebSocket tells a page nothing of why it was refused. */
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

async function listen () {
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: true })
  } catch (error) {
    throw new Error(`The browser gives no microphone: ${error.message}.`)
  }
}

async function refusalOf (answer) {
  const { error } = await answer.json().catch(() => ({}))
  return `The call was refused with ${answer.status}: ${error?.code === 'invalid_api_key' ? 'the secret has expired.' : error?.message ?? 'no reason was given.'}`
}
