/** `onEvent` gets the events of the data channel. Without it none is made, as `data_channel: false` requires. */
export async function call (mintUrl, userToken, onEvent = null) {
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true })
  const stopMicrophone = () => { for (const track of microphone.getTracks()) track.stop() }
  const peer = new RTCPeerConnection()
  for (const track of microphone.getTracks()) peer.addTrack(track, microphone)
  const speaker = new Audio()
  speaker.autoplay = true
  peer.ontrack = ({ streams }) => { speaker.srcObject = streams[0] }
  const events = onEvent && peer.createDataChannel('oai-events')
  events?.addEventListener('message', ({ data }) => onEvent(JSON.parse(data)))

  await peer.setLocalDescription()
  const url = `${mintUrl}/realtime/calls`
  const headers = { Authorization: `Bearer ${userToken}` }
  const response = await fetch(url, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/sdp' },
    body: peer.localDescription.sdp
  }).catch((error) => {
    stopMicrophone()
    throw error
  })
  if (!response.ok) {
    stopMicrophone()
    throw new Error((await response.json()).error.message)
  }
  const id = response.headers.get('Location').split('/').at(-1)
  const hangUp = async () => {
    stopMicrophone()
    await fetch(`${url}/${id}/hangup`, { method: 'POST', headers, keepalive: true })
    peer.close()
  }
  window.addEventListener('pagehide', hangUp)
  await peer.setRemoteDescription({ type: 'answer', sdp: await response.text() })
  return { id, send: (event) => events.send(JSON.stringify(event)), hangUp }
}
