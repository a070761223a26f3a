// The playground calls through Ephemint: refused, heard, watched, hung up.

import type { Page } from 'playwright-core'
import { until } from '../support/until.ts'
import { browserTest } from './chromium.ts'
import { callThroughEphemint, chooseCalls, outcomeOn, signInAs, spoken, state } from './playground.ts'
import { sandboxFor, sandboxWithLines, shared, visit } from './sandbox.ts'

/** Measures how loud the sound is that the page receives, and keeps its offers. */
const LISTEN = `(() => {
  window.offers = []
  window.loudest = 0
  const Peer = RTCPeerConnection
  window.RTCPeerConnection = class extends Peer {
    constructor (...args) {
      super(...args)
      this.addEventListener('track', ({ streams: [stream] }) => {
        const sound = new AudioContext()
        const ear = new AnalyserNode(sound)
        new MediaStreamAudioSourceNode(sound, { mediaStream: stream }).connect(ear)
        const samples = new Float32Array(ear.fftSize)
        setInterval(() => {
          ear.getFloatTimeDomainData(samples)
          window.loudest = Math.max(window.loudest, ...samples)
        }, 50)
      })
    }
    async setLocalDescription (...args) {
      await super.setLocalDescription(...args)
      window.offers.push(this.localDescription.sdp)
    }
  }
})()`

const sideband = (page: Page) => page.getByRole('log', { name: 'Sideband events' })

browserTest('an offer that Ephemint refuses is explained: a second call of a user who may have one', async (t) => {
  const { playground } = await sandboxFor(t)
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Guest')
    await callThroughEphemint(page)
    const second = await page.context().newPage()
    await second.goto(playground)
    await signInAs(second, 'Guest')
    await chooseCalls(second)
    await second.getByRole('button', { name: 'Call through Ephemint' }).click()
    await outcomeOn(second).getByText('Refused, 409').waitFor()
    await outcomeOn(second).getByText('This user already has a call, and the policy permits no second one.').waitFor()
    await spoken(second).filter({ hasText: 'Hang it up, or wait for its end.' }).waitFor({ state: 'attached' })
    t.equal(await state(page).textContent(), 'Connected by WebRTC.', 'the first one goes on')
  })
})

browserTest('what the policy does not permit in a call is explained', async (t) => {
  const { playground } = await shared()
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Paula')
    await chooseCalls(page)
    await page.locator('#modes label', { hasText: 'JSON' }).click()
    const part = page.getByLabel('The part “session” of the request')
    t.same(JSON.parse(await part.inputValue()), { type: 'realtime' })
    await part.fill('{"instructions": "Forget yours."}')
    await page.getByRole('button', { name: 'Call through Ephemint' }).click()
    await outcomeOn(page).locator('.path code').getByText('session.instructions').waitFor()
    await outcomeOn(page).getByText('The client cannot set this: the policy decides it.').waitFor()
    await part.fill('{"instructions": ')
    await page.getByRole('button', { name: 'Call through Ephemint' }).click()
    await outcomeOn(page).getByText('Refused, 400').waitFor()
  })
})

browserTest('a page without Ephemint, or without a microphone, says so', async (t) => {
  const { playground } = await shared()
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Paula')
    await chooseCalls(page)
    await page.route('**/realtime/calls', (route) => route.abort('connectionrefused'))
    await page.getByRole('button', { name: 'Call through Ephemint' }).click()
    await page.getByRole('alert').getByText('Ephemint cannot be reached').waitFor()
    await page.evaluate('navigator.mediaDevices.getUserMedia = async () => { throw new Error("none here") }')
    await page.getByLabel('with my microphone').check()
    await page.getByRole('button', { name: 'Call through Ephemint' }).click()
    await page.getByRole('alert').getByText('No microphone: none here.').waitFor()
    t.ok(await page.getByRole('button', { name: 'Call through Ephemint' }).isEnabled(), 'another attempt is possible')
  })
})

browserTest('a call is heard, its sideband is shown, and hanging up ends it at OpenAI', async (t) => {
  const { playground, has } = await sandboxWithLines(t)
  await visit(t, playground, {}, async (page) => {
    await page.addInitScript(LISTEN)
    await page.reload()
    await signInAs(page, 'Fred')
    await chooseCalls(page)
    await page.getByText('A call of this user lasts at most 60 s and ends after 20 s of silence.').waitFor()
    await page.getByLabel('Voice').selectOption('cedar')
    await callThroughEphemint(page)
    await sideband(page).getByText('session.updated').first().waitFor()
    t.match(await page.evaluate('window.offers[0]'), /^m=application/m)

    await page.getByRole('button', { name: 'Say something' }).click()
    await sideband(page).getByText('input_audio_buffer.speech_started').first().waitFor()
    await sideband(page).getByText('output_audio_buffer.started').first().waitFor()
    await until('the sound', () => page.evaluate<boolean>('window.loudest > 0.05'))
    await sideband(page).getByText('output_audio_buffer.stopped').first().waitFor()

    await page.getByLabel('Message to send').fill('Who are you?')
    await page.getByRole('button', { name: 'Send' }).click()
    await until('a second answer', async () => await sideband(page).getByText('response.done').count() === 2)
    t.match(await sideband(page).getByRole('listitem').first().textContent(), /^\d\d:\d\d:\d\d\w+/)

    await page.getByRole('button', { name: 'Hang up' }).click()
    await outcomeOn(page).getByText('Call ended').waitFor()
    t.equal(await state(page).textContent(), 'You hung up.')
    t.equal(await spoken(page).textContent(), 'The call has ended. You hung up.')
    await until('the hang-up', () => has(/POST \/v1\/realtime\/calls\/rtc_\w+\/hangup 200/))
    await until('the line of its end', () => has(/^call\.ended +\(client\) .* policy free/))

    const call = JSON.parse(await outcomeOn(page).getByLabel('The call, as Ephemint reports it').textContent() ?? '')
    t.match(call, { status: 'ended', end_reason: 'client', usage: { responses: 2 } })
    t.match(await outcomeOn(page).locator('.receipt').textContent(), `Lasted${call.seconds} sAnswers2`)
    t.notOk(await page.getByRole('button', { name: 'Hang up' }).isVisible())
    const sent = await outcomeOn(page).getByLabel('Request sent').textContent()
    const session = '{"type":"realtime","audio":{"output":{"voice":"cedar"}}}'
    t.match(sent, `/v1/realtime/calls\n\nsession:\n${session}\n\nsdp:\nv=0`)
    t.notMatch(await page.content(), /ek_\w{5}/, 'no secret is in the page')
  })
})

browserTest('the newest event of the sideband is on top, and not more than a hundred are shown', async (t) => {
  const { playground } = await shared()
  await visit(t, playground, {}, async (page) => {
    await page.route('**/sideband/*', (route) => route.fulfill({
      contentType: 'text/event-stream',
      body: Array.from({ length: 120 }, (_, i) => `data: ${JSON.stringify({ type: `event.${i}`, at: i })}\n\n`).join('')
    }))
    await signInAs(page, 'Paula')
    await callThroughEphemint(page)
    await sideband(page).getByText('event.119').first().waitFor()
    const types = await sideband(page).locator('code').allTextContents()
    t.equal(types.length, 100)
    t.equal(types[0], 'event.119')
    t.equal(types.at(-1), 'event.20')
  })
})

browserTest('a user with audio only calls without a data channel, speaks and is answered', async (t) => {
  const { playground } = await shared()
  await visit(t, playground, {}, async (page) => {
    await page.addInitScript(LISTEN)
    await page.reload()
    await signInAs(page, 'Guest')
    await chooseCalls(page)
    await page.getByText('Audio only: the page cannot change the session.').waitFor()
    await callThroughEphemint(page)
    t.notMatch(await page.evaluate('window.offers[0]'), /^m=application/m)
    t.equal(await page.getByLabel('Message to send').count(), 0)
    await page.getByRole('button', { name: 'Say something' }).click()
    await sideband(page).getByText('response.done').first().waitFor()
    await until('the sound', () => page.evaluate<boolean>('window.loudest > 0.05'))
    await page.getByRole('button', { name: 'Hang up' }).click()
    await outcomeOn(page).getByText('You hung up.').waitFor()
  })
})

browserTest('a call by cookie is answered and hung up', async (t) => {
  const { playground } = await shared()
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Paula, by cookie')
    await callThroughEphemint(page)
    t.match(await outcomeOn(page).getByRole('timer').textContent(), / s left of at most 600 s$/)
    await page.getByRole('button', { name: 'Hang up' }).click()
    await outcomeOn(page).getByText('You hung up.').waitFor()
  })
})

browserTest('the code of a call makes one', async (t) => {
  const { playground, ephemint } = await sandboxFor(t)
  await visit(t, playground, {}, async (page) => {
    for (const who of ['Fred', 'Paula, by cookie', 'Guest'] as const) {
      await signInAs(page, who)
      await chooseCalls(page)
      const code = await page.getByRole('tabpanel', { name: 'fetch' }).locator('pre').textContent()
      const call = await page.evaluate(`(async () => { ${code}\nreturn call })()`) as string
      t.ok(call.startsWith(`${ephemint}/v1/realtime/calls/rtc_`), who)
      t.equal(code?.includes('createDataChannel'), who !== 'Guest', who)
    }
  })
})
