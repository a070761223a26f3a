// The playground calls through Ephemint: connected by WebRTC, watched and ended by the service.

import { readFile, writeFile } from 'node:fs/promises'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import type { Sandbox } from '../../src/sandbox/start.ts'
import { until } from '../support/until.ts'
import { browserTest } from './chromium.ts'
import { callThroughEphemint, chooseCalls, outcome, signInAs, spoken } from './playground.ts'
import { sandboxFor, shared, visit } from './sandbox.ts'

/** Counts loud moments of what the page plays, and keeps its offers. */
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
const state = (page: Page) => outcome(page).locator('.state')

/** A sandbox whose lines are kept: those of the upstream, and audit lines as people read them. */
async function sandboxWithLines (t: Test) {
  const lines: string[] = []
  const sandbox = await sandboxFor(t, { print: (line) => lines.push(line) })
  return { ...sandbox, has: (pattern: RegExp) => lines.some((line) => pattern.test(line)) }
}

/** Resolves once Ephemint has reloaded it: `user` has another policy then. */
async function changePolicy (
  { ephemint, identityProvider, policyFile }: Sandbox, user: 'guest' | 'fred', found: string | RegExp, put: string
) {
  const token = await (await fetch(`${identityProvider}/token?user=${user}`)).text()
  const headers: Record<string, string> = user === 'guest' ? {} : { authorization: `Bearer ${token}` }
  const policy = async () => {
    const { sessions } = await (await fetch(`${ephemint}/v1/realtime/policy`, { headers })).json() as any
    return JSON.stringify(sessions)
  }
  const before = await policy()
  await writeFile(policyFile, (await readFile(policyFile, 'utf8')).replace(found, put))
  await until('the new policy', async () => await policy() !== before)
}

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
    await outcome(second).getByText('Refused, 409').waitFor()
    await outcome(second).getByText('This user already has a call, and the policy permits no second one.').waitFor()
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
    await outcome(page).locator('.path code').getByText('session.instructions').waitFor()
    await outcome(page).getByText('The client cannot set this: the policy decides it.').waitFor()
    await part.fill('{"instructions": ')
    await page.getByRole('button', { name: 'Call through Ephemint' }).click()
    await outcome(page).getByText('Refused, 400').waitFor()
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
    await sideband(page).getByText('session.updated').waitFor()
    t.match(await page.evaluate('window.offers[0]'), /^m=application/m)

    await page.getByRole('button', { name: 'Say something' }).click()
    await sideband(page).getByText('input_audio_buffer.speech_started').waitFor()
    await sideband(page).getByText('output_audio_buffer.started').waitFor()
    await page.waitForFunction('window.loudest > 0.05')
    await sideband(page).getByText('output_audio_buffer.stopped').waitFor()

    await page.getByLabel('Message to send').fill('Who are you?')
    await page.getByRole('button', { name: 'Send' }).click()
    await until('a second answer', async () => await sideband(page).getByText('response.done').count() === 2)
    t.match(await sideband(page).getByRole('listitem').first().textContent(), /^\d\d:\d\d:\d\d\w+/)

    await page.getByRole('button', { name: 'Hang up' }).click()
    await outcome(page).getByText('Call ended').waitFor()
    t.equal(await state(page).textContent(), 'You hung up.')
    t.equal(await spoken(page).textContent(), 'The call has ended. You hung up.')
    await until('the hang-up', () => has(/POST \/v1\/realtime\/calls\/rtc_\w+\/hangup 200/))
    await until('the line of its end', () => has(/^call\.ended +\(client\) .* policy free/))

    const call = JSON.parse(await outcome(page).getByLabel('The call, as Ephemint reports it').textContent() ?? '')
    t.match(call, { status: 'ended', end_reason: 'client', usage: { responses: 2 } })
    t.match(await outcome(page).locator('.receipt').textContent(), `Lasted${call.seconds} sAnswers2`)
    t.notOk(await page.getByRole('button', { name: 'Hang up' }).isVisible())
    const sent = await outcome(page).getByLabel('Request sent').textContent()
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
    await sideband(page).getByText('event.119').waitFor()
    const types = await sideband(page).locator('code').allTextContents()
    t.equal(types.length, 100)
    t.equal(types[0], 'event.119')
    t.equal(types.at(-1), 'event.20')
  })
})

browserTest('the seconds that remain count down, and an end that the page did not wish is explained', async (t) => {
  const sandbox = await sandboxFor(t)
  await changePolicy(sandbox, 'guest', 'idle_seconds: 15', 'idle_seconds: 5')
  await visit(t, sandbox.playground, {}, async (page) => {
    await signInAs(page, 'Guest')
    await callThroughEphemint(page)
    const timer = outcome(page).getByRole('timer', { name: 'Time left' })
    const left = async () => Number(/^(\d+) s left of at most 30 s$/.exec(await timer.textContent() ?? '')?.[1])
    const first = await left()
    t.ok(first > 25 && first <= 30, `${first} s`)
    await until('two seconds less', async () => await left() <= first - 2)
    // Silence counts once something was said.
    await page.getByRole('button', { name: 'Say something' }).click()
    await outcome(page).getByText('Call ended').waitFor()
    t.equal(await state(page).textContent(), 'No one said anything for too long.')
    t.notOk(await timer.isVisible())
  })
})

browserTest('a user whom the policy file stops in a call is told so, and then refused', async (t) => {
  const sandbox = await sandboxFor(t)
  await visit(t, sandbox.playground, {}, async (page) => {
    await signInAs(page, 'Guest')
    await callThroughEphemint(page)
    await changePolicy(sandbox, 'guest', /^ +calls: .*data_channel: false.*\n/m, '')
    await outcome(page).getByText('The policy file no longer permits this user a call.').waitFor()
    await page.getByRole('button', { name: 'Call through Ephemint' }).click()
    await outcome(page).getByText('Refused, 403').waitFor()
    // The page has learned of the new policy once the user is chosen again.
    await signInAs(page, 'Fred')
    await signInAs(page, 'Guest')
    await page.getByText('The policy grants this user no calls. Make one to see the refusal.').waitFor()
    await page.getByRole('button', { name: 'Call through Ephemint' }).click()
    await outcome(page).getByText('The policy grants this user no calls. Mint a client secret instead.').waitFor()
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
    await sideband(page).getByText('response.done').waitFor()
    await page.waitForFunction('window.loudest > 0.05')
    await page.getByRole('button', { name: 'Hang up' }).click()
    await outcome(page).getByText('You hung up.').waitFor()
  })
})

// Without a data channel, whose end would end the call too.
browserTest('leaving the page hangs up, with a token and without a credential', async (t) => {
  const { has, ...sandbox } = await sandboxWithLines(t)
  await changePolicy(sandbox, 'fred', 'idle_seconds: 20', 'idle_seconds: 20, data_channel: false')
  await visit(t, sandbox.playground, {}, async (page) => {
    for (const [who, policy] of [['Fred', 'free'], ['Guest', 'guest']] as const) {
      await page.goto(sandbox.playground)
      await signInAs(page, who)
      await callThroughEphemint(page)
      await page.goto('about:blank')
      await until('the end', () => has(new RegExp(`^call\\.ended +\\(client\\) .* policy ${policy}$`)))
    }
  })
  t.ok(has(/POST \/v1\/realtime\/calls\/rtc_\w+\/hangup 200/))
})

browserTest('another user, a new request, or starting over ends the call too', async (t) => {
  const { playground, has } = await sandboxWithLines(t)
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Paula')
    await callThroughEphemint(page)
    await signInAs(page, 'Guest')
    await until('the end of the first', () => has(/^call\.ended +\(client\) .* policy pro/))
    await callThroughEphemint(page)
    await page.getByRole('button', { name: 'Start over' }).click()
    await until('the end of the second', () => has(/^call\.ended +\(client\) .* policy guest/))
    t.match(await outcome(page).textContent(), 'press Call through Ephemint.')
  })
})

browserTest('a call by cookie is answered and hung up', async (t) => {
  const { playground } = await shared()
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Paula, by cookie')
    await callThroughEphemint(page)
    t.match(await outcome(page).getByRole('timer').textContent(), / s left of at most 600 s$/)
    await page.getByRole('button', { name: 'Hang up' }).click()
    await outcome(page).getByText('You hung up.').waitFor()
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
