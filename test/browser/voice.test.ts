// A call of the emulator as a browser makes it, with nothing but audio: it speaks, and hears the answer.

import { once } from 'node:events'
import { WebSocket } from 'ws'
import { startUpstream } from '../../src/sandbox/openai/upstream.ts'
import { createInbox } from '../support/phone.ts'
import { browserTest, launch } from './chromium.ts'

const apiKey = 'sk-sandbox-0123456789abcdef'
const headers = { authorization: `Bearer ${apiKey}` }

browserTest('an audio-only call is spoken to, heard in the browser, and over when its page is', async (t) => {
  const { url, close } = await startUpstream({ apiKey })
  t.teardown(close)
  const browser = await launch()
  t.teardown(() => browser.close())
  const page = await browser.newPage()

  const offer = await page.evaluate(`(async () => {
    peer = new RTCPeerConnection()
    sound = new AudioContext()
    gain = new GainNode(sound, { gain: 0 })
    const [tone, line] = [new OscillatorNode(sound), new MediaStreamAudioDestinationNode(sound)]
    tone.connect(gain).connect(line)
    tone.start()
    peer.addTrack(line.stream.getTracks()[0], line.stream)
    loudest = 0
    peer.ontrack = ({ streams: [stream] }) => {
      // Chromium decodes only what an element plays.
      player = new Audio()
      player.srcObject = stream
      player.muted = true
      player.play()
      const ear = new AnalyserNode(sound)
      new MediaStreamAudioSourceNode(sound, { mediaStream: stream }).connect(ear)
      const samples = new Float32Array(ear.fftSize)
      setInterval(() => {
        ear.getFloatTimeDomainData(samples)
        loudest = Math.max(loudest, ...samples)
      }, 50)
    }
    await peer.setLocalDescription()
    return peer.localDescription.sdp
  })()`) as string

  const body = new FormData()
  body.append('sdp', offer)
  body.append('session', JSON.stringify({ type: 'realtime', model: 'gpt-realtime-2.1' }))
  const created = await fetch(`${url}/realtime/calls`, { method: 'POST', headers, body })
  t.equal(created.status, 201)
  const id = created.headers.get('location')?.split('/').at(-1)
  const sideband = new WebSocket(`${url.replace('http', 'ws')}/realtime?call_id=${id}`, { headers })
  t.teardown(() => sideband.terminate())
  const { put, next } = createInbox()
  sideband.on('message', (data) => put(data.toString()))
  await once(sideband, 'open')

  await page.evaluate(`peer.setRemoteDescription({ type: 'answer', sdp: ${JSON.stringify(await created.text())} })`)
  await page.waitForFunction('peer.connectionState === "connected"')
  await page.evaluate('gain.gain.value = 0.5')
  await next('input_audio_buffer.speech_started')
  await page.evaluate('gain.gain.value = 0')
  await next('response.done')
  await page.waitForFunction('loudest > 0.05')
  await next('output_audio_buffer.stopped')

  const over = once(sideband, 'close')
  await page.evaluate('peer.close()')
  t.match(await over, [1000])
})
