export async function connect ({ value, realtimeUrl }, onEvent) {
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true })
  const peer = new RTCPeerConnection()
  for (const track of microphone.getTracks()) peer.addTrack(track, microphone)
  const speaker = new Audio()
  speaker.autoplay = true
  peer.ontrack = ({ streams }) => { speaker.srcObject = streams[0] }
  const events = peer.createDataChannel('oai-events')
  events.onmessage = ({ data }) => onEvent(JSON.parse(data))

  await peer.setLocalDescription()
  const response = await fetch(realtimeUrl, {
    method: 'POST',
    headers: { Authorization: `Bearer ${value}`, 'Content-Type': 'application/sdp' },
    body: peer.localDescription.sdp
  })
  if (!response.ok) throw new Error(`The call was refused with ${response.status}.`)
  await peer.setRemoteDescription({ type: 'answer', sdp: await response.text() })
  return { send: (event) => events.send(JSON.stringify(event)), close: () => peer.close() }
}
