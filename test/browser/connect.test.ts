// Connects from the playground to the Realtime API of the sandbox with a minted secret.

import { until } from '../support/until.ts'
import { browserTest } from './chromium.ts'
import { mint, outcomeOn, signInAs } from './playground.ts'
import { sandboxFor, shared, visit } from './sandbox.ts'

browserTest('an unknown secret is refused by WebRTC and WebSocket with an explanation', async (t) => {
  const { playground } = await shared()
  await visit(t, playground, {}, async (page) => {
    await page.route('**/realtime/client_secrets', async (route) => {
      const answer = await route.fetch()
      await route.fulfill({ response: answer, json: { ...await answer.json(), value: 'ek_nobody_minted_this_one' } })
    })
    await signInAs(page, 'Paula')
    await mint(page)
    await page.getByRole('button', { name: 'Connect by WebRTC' }).click()
    await outcomeOn(page).getByText('The call was refused with 401: the secret has expired.').waitFor()
    await page.getByRole('button', { name: 'Connect by WebSocket' }).click()
    await outcomeOn(page).getByText('The connection was refused: the secret may have expired.').waitFor()
  })
})

browserTest('an API that does not answer is reported', async (t) => {
  const { playground } = await shared()
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Paula')
    await mint(page)
    await outcomeOn(page).getByText('Minted', { exact: true }).waitFor()
    await page.route('**/realtime/calls', (route) => route.abort('connectionrefused'))
    await page.getByRole('button', { name: 'Connect by WebRTC' }).click()
    await outcomeOn(page).getByText('No response from http://127.0.0.1:').waitFor()
    t.ok(await page.getByRole('button', { name: 'Connect by WebRTC' }).isEnabled(), 'another attempt is possible')
  })
})

for (const name of ['WebRTC', 'WebSocket'] as const) {
  for (const microphone of name === 'WebRTC' ? [false, true] : [false]) {
    const how = `${name}${microphone ? ' with the microphone' : ''}`
    browserTest(`connected by ${how}, the session is the minted one and answers`, async (t) => {
      const { playground } = await shared()
      await visit(t, playground, {}, async (page) => {
        await signInAs(page, 'Paula')
        await mint(page)
        if (microphone) await outcomeOn(page).getByLabel('with my microphone').check()
        await page.getByRole('button', { name: `Connect by ${name}` }).click()
        await outcomeOn(page).getByText(`Connected by ${name}.`, { exact: true }).waitFor()
        const events = page.getByRole('log')
        t.match(
          await events.getByRole('listitem').first().textContent(),
          /session\.created gpt-realtime-2\.1 · cedar · You are Ada, the voice agent of Paula & Partners/
        )

        await page.getByLabel('Message to send').fill('Who are you?')
        await page.getByRole('button', { name: 'Send' }).click()
        await events.getByText('This is the sandbox. Your session runs with the model gpt-realtime-2.1.').first()
          .waitFor()
        await events.getByText('response.done', { exact: true }).waitFor()

        await page.getByRole('button', { name: 'Hang up' }).click()
        await outcomeOn(page).getByText(name === 'WebRTC' ? 'The call has ended.' : 'The connection is closed.')
          .waitFor()
        await page.getByRole('button', { name: `Connect by ${name}` }).click()
        await outcomeOn(page).getByText(`Connected by ${name}.`, { exact: true }).waitFor()
      })
    })
  }
}

for (const kind of ['Transcription', 'Translation'] as const) {
  browserTest(`a ${kind.toLowerCase()} connects by WebRTC and WebSocket`, async (t) => {
    const { playground } = await shared()
    await visit(t, playground, {}, async (page) => {
      await signInAs(page, 'Paula')
      await page.locator('#kinds label', { hasText: kind }).click()
      await mint(page)
      for (const name of ['WebRTC', 'WebSocket']) {
        await page.getByRole('button', { name: `Connect by ${name}` }).click()
        await outcomeOn(page).getByText(`Connected by ${name}.`, { exact: true }).waitFor()
        await page.getByRole('log').getByText('session.created', { exact: true }).waitFor()
        await page.getByRole('button', { name: 'Hang up' }).click()
      }
    })
  })
}

browserTest('hanging up, or closing the page, ends the call at the other side', async (t) => {
  const lines: string[] = []
  const { playground } = await sandboxFor(t, { print: (line) => lines.push(line) })
  const ended = () => lines.filter((line) => /rtc_\w+ ended/.test(line)).length
  await visit(t, playground, {}, async (page) => {
    await mint(page)
    const call = async () => {
      await page.getByRole('button', { name: 'Connect by WebRTC' }).click()
      await page.getByRole('log').getByText('session.created', { exact: true }).waitFor()
    }
    await call()
    await page.getByRole('button', { name: 'Hang up' }).click()
    await until('the end of the first call', () => ended() === 1)
    await call()
    await page.goto('about:blank')
    await until('the end of the second call', () => ended() === 2)
  })
  t.equal(ended(), 2)
})
