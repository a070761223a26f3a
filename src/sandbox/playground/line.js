// The line of a call by WebRTC: the user's voice, the sound of the answer, and, unless it is audio only, events.

export class NoMicrophone extends Error {}

/** A voice is {stream, close, speak?}. Throws NoMicrophone. */
export async function openMicrophone () {
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true })
    return { stream, close: () => { for (const track of stream.getTracks()) track.stop() } }
  } catch (error) {
    throw new NoMicrophone(`No microphone: ${error.message}.`)
  }
}

/** In place of a microphone: silence, and a tone for `speak(seconds)`. */
export function openTone () {
  const sound = new AudioContext()
  const volume = new GainNode(sound, { gain: 0 })
  const line = new MediaStreamAudioDestinationNode(sound)
  const tone = new OscillatorNode(sound, { frequency: 220 })
  tone.connect(volume).connect(line)
  tone.start()
  return {
    stream: line.stream,
    speak: (seconds) => {
      sound.resume()
      volume.gain.setValueAtTime(0.4, sound.currentTime)
      volume.gain.setValueAtTime(0, sound.currentTime + seconds)
    },
    close: () => { if (sound.state !== 'closed') sound.close() }
  }
}

/** {offer, take, send, close}. `take` throws an Error if the answer is of no use; nothing is called back before it. */
export async function openLine ({ voice, hasEvents }) {
  const peer = new RTCPeerConnection()
  // A call needs an audio track even without a voice.
  if (voice === null) peer.addTransceiver('audio')
  else for (const track of voice.stream.getTracks()) peer.addTrack(track, voice.stream)
  const speaker = new Audio()
  speaker.autoplay = true
  peer.ontrack = ({ streams: [stream] }) => { if (stream !== undefined) speaker.srcObject = stream }
  const channel = hasEvents ? peer.createDataChannel('oai-events') : null
  await peer.setLocalDescription()
  return { offer: peer.localDescription.sdp, take, send, close }

  function send (event) {
    // One that is closing throws.
    if (channel.readyState === 'open') channel.send(JSON.stringify(event))
  }

  async function take (answer, { onOpen, onEvent = () => {}, onEnd, onNoPath }) {
    // The reported reason is more precise than the channel's `onclose`.
    const fail = () => {
      if (channel !== null) channel.onclosing = channel.onclose = null
      close()
    }
    if (channel !== null) {
      channel.onopen = onOpen
      channel.onmessage = ({ data }) => onEvent(JSON.parse(data))
      // OpenAI closes it: a browser fires `closing` at once, and `close` when all is over.
      channel.onclosing = channel.onclose = () => {
        channel.onclosing = channel.onclose = null
        onEnd('The call has ended.')
      }
    }
    peer.onconnectionstatechange = () => {
      if (peer.connectionState === 'connected' && channel === null) onOpen()
      if (peer.connectionState !== 'failed') return
      fail()
      onNoPath()
    }
    try {
      await peer.setRemoteDescription({ type: 'answer', sdp: answer })
    } catch (error) {
      fail()
      throw error
    }
  }

  function close () {
    voice?.close()
    channel?.close()
    peer.close()
  }
}
