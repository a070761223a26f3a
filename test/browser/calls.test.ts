// Brokered calls as pages make them, with WebRTC against the sandbox: plain, and by OpenAI's packages as published.

import { until } from '../support/until.ts'
import { browserTest } from './chromium.ts'
import { inApp } from './in-app.ts'

for (const file of ['call.js', 'call-with-openai.js']) {
  browserTest(`${file} is answered with the policy's session, and hung up by its caller`, async (t) => {
    await inApp(t, async ({ run, ask }) => {
      const { id, created, done } = await run('{ call }', file, `(async () => {
        const events = []
        const { id, send, hangUp } = await call(mintUrl, userToken, (event) => events.push(event))
        const created = await waitFor(events, 'session.created')
        send({ type: 'response.create' })
        const done = await waitFor(events, 'response.done')
        await hangUp()
        return { id, created, done }
      })()`)
      t.match(created, { session: { model: 'gpt-realtime-2.1', instructions: /Paula & Partners/ } })
      t.match(done, { response: { status: 'completed' } })
      t.match(await ask(`/realtime/calls/${id}`), {
        status: 'ended', end_reason: 'client', usage: { responses: 1, output_tokens: done.response.usage.output_tokens }
      })
    })
  })

  browserTest(`${file} throws why a call is refused, and listens no more`, async (t) => {
    await inApp(t, async ({ run }) => {
      const refused = await run('{ call }', file, `(async () => {
        const microphone = await navigator.mediaDevices.getUserMedia({ audio: true })
        navigator.mediaDevices.getUserMedia = async () => microphone
        const { message, cause } = await call(mintUrl, 'nonsense', () => {}).catch((error) => error)
        return { message, status: cause?.status, microphone: microphone.getTracks().map((track) => track.readyState) }
      })()`)
      t.same(refused.microphone, ['ended'])
      t.match(refused, file === 'call.js'
        ? { message: /credential/ }
        : { message: 'Could not establish the WebRTC connection.', status: 401 })
    })
  })
}

/** In place of a microphone: says something again and again, with pauses in which it can be answered. */
const SPEAKER = `
  const sound = new AudioContext()
  const [tone, gain] = [new OscillatorNode(sound), new GainNode(sound, { gain: 0 })]
  const line = new MediaStreamAudioDestinationNode(sound)
  tone.connect(gain).connect(line)
  tone.start()
  for (let second = 0; second < 60; second += 2) {
    gain.gain.setValueAtTime(0.5, sound.currentTime + second)
    gain.gain.setValueAtTime(0, sound.currentTime + second + 0.7)
  }
  navigator.mediaDevices.getUserMedia = async () => line.stream`

browserTest('call.js: without a data channel the call is audio only, and what is said is answered', async (t) => {
  await inApp(t, async ({ run, ask }) => {
    const id = await run('{ call }', 'call.js', `(async () => {
      ${SPEAKER}
      return (await call(mintUrl, userToken)).id
    })()`)
    const path = `/realtime/calls/${id}`
    const { status, usage } = await until('an answer', async () => {
      const found = await ask(path)
      return found.usage.responses > 0 ? found : null
    })
    t.equal(status, 'live')
    t.ok(usage.output.audio > 0)
  })
})

browserTest('call.js: a page that is left hangs up', async (t) => {
  await inApp(t, async ({ run, page, ask }) => {
    const id = await run('{ call }', 'call.js', '(async () => (await call(mintUrl, userToken, () => {})).id)()')
    await page.goto('about:blank')
    const ended = () => ask(`/realtime/calls/${id}`)
    await until('the call to have ended', async () => (await ended()).status === 'ended')
    t.match(await ended(), { end_reason: 'client' })
  })
})

browserTest('call-with-agents.js: the policy\'s instructions and voice are in force, and it is hung up', async (t) => {
  await inApp(t, async ({ run, ask }) => {
    const { id, updated } = await run('{ call }', 'call-with-agents.js', `(async () => {
      const { RealtimeAgent } = await import('@openai/agents-realtime')
      const agent = new RealtimeAgent({ name: 'Bob', instructions: 'You are Bob.', voice: 'ash' })
      const { id, session, hangUp } = await call(mintUrl, userToken, agent)
      const events = []
      session.transport.on('*', (event) => events.push(event))
      session.transport.sendEvent({ type: 'session.update', session: { type: 'realtime' } })
      const updated = await waitFor(events, 'session.updated')
      await hangUp()
      return { id, updated: updated.session }
    })()`)
    t.match(updated, { instructions: /Paula & Partners/, audio: { output: { voice: 'cedar' } } })
    t.match(await ask(`/realtime/calls/${id}`), { status: 'ended', end_reason: 'client' })
  })
})

browserTest('agents: as published, it connects by the user\'s token, and what it sends is restored', async (t) => {
  await inApp(t, async ({ run, identityProvider }) => {
    const { done, ended } = await run('{ }', 'call-with-agents.js', `(async () => {
      const { OpenAIRealtimeWebRTC, RealtimeAgent, RealtimeSession } = await import('@openai/agents-realtime')
      // Paula's policy ends a call at the first change, and the library makes one when it connects.
      const token = await (await fetch('${identityProvider}/token?user=fred')).text()
      const transport = new OpenAIRealtimeWebRTC({ useInsecureApiKey: true })
      const session = new RealtimeSession(new RealtimeAgent({ name: 'Bob', voice: 'ash' }), { transport })
      const events = []
      transport.on('*', (event) => events.push(event))
      await session.connect({ apiKey: token, url: mintUrl + '/realtime/calls' })
      const id = transport.callId
      session.sendMessage('Who are you?')
      const done = await waitFor(events, 'response.done')
      session.close()
      const look = { headers: { authorization: 'Bearer ' + token } }
      let ended
      do ended = await (await fetch(mintUrl + '/realtime/calls/' + id, look)).json()
      while (ended.status !== 'ended')
      return { done, ended }
    })()`)
    t.match(done, { response: { status: 'completed' } })
    t.match(ended, { end_reason: 'ended', usage: { responses: 1 } })
  })
})
