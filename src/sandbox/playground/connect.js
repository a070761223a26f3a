// Connects to the Realtime API with the client secret, without Ephemint. Both functions return {send, close}.

/** Throws an Error with a message for the user if the call is refused. */
export async function connectByWebRtc ({ url, secret, microphone, onEvent, onOpen, onEnd }) {
  const media = microphone ? await openMicrophone() : null
  const peer = new RTCPeerConnection()
  // A call needs an audio track even without a microphone.
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
  channel.onclose = () => onEnd('The call has ended.')
  // The caller reports a more precise reason than the channel's `onclose` would.
  const fail = () => {
    channel.onclose = null
    close()
  }
  peer.onconnectionstatechange = () => {
    if (peer.connectionState !== 'failed') return
    fail()
    onEnd('No network path was found. A browser that does not connect to 127.0.0.1 by WebRTC can use the WebSocket.')
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

async function openMicrophone () {
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: true })
  } catch (error) {
    throw new Error(`No microphone: ${error.message}.`)
  }
}

async function refusalOf (answer) {
  const { error } = await answer.json().catch(() => ({}))
  return `The call was refused with ${answer.status}: ${error?.code === 'invalid_api_key' ? 'the secret has expired.' : error?.message ?? 'no reason was given.'}`
}
