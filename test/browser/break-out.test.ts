// The buttons of the playground that try to break out of the policy in a call: what becomes of each, and how long it
// takes.

import { readFile, writeFile } from 'node:fs/promises'
import type { Page } from 'playwright-core'
import { until } from '../support/until.ts'
import { browserTest } from './chromium.ts'
import {
  becameOf, breakOut, callThroughEphemint, chooseCalls, outcomeOn, signInAs, spoken, state, tries
} from './playground.ts'
import { sandboxFor, sandboxWithLines, shared, visit } from './sandbox.ts'

const TIME = String.raw`(\d+ ms|\d+\.\d s)`
const after = (what: string, more = '') => new RegExp(`^${what} after ${TIME}${more}$`)
const ENDED = `Ephemint ended the call after ${TIME}: policy_change\\.`

async function assertEnded (page: Page): Promise<void> {
  await outcomeOn(page).getByText('Call ended').waitFor()
  await state(page).filter({ hasText: 'The session was changed in a way that the policy does not permit.' }).waitFor()
}

browserTest('an audio-only call has nothing to try, and says why', async (t) => {
  const { playground } = await shared()
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Guest')
    await callThroughEphemint(page)
    await tries(page).getByText('There is nothing to try: this call is audio only.').waitFor()
    t.equal(await tries(page).getByRole('button').count(), 0)
  })
})

browserTest('what restore undoes is shown with its time, and the fourth within a minute ends the call', async (t) => {
  const { playground, has } = await sandboxWithLines(t)
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Fred')
    await callThroughEphemint(page)
    await tries(page).getByText(
      'The policy free says on_change: restore: what it does not permit is set back, deleted or cancelled. ' +
      'The fourth time within a minute ends the call.'
    ).waitFor()
    t.match(await breakOut(page, 'Other instructions'), /^Corrected after \d+ ms\.$/, 'the first event is not late')
    t.match(await spoken(page).textContent(), after('Other instructions: Corrected', '\\.'))
    t.match(await breakOut(page, 'A tool'), after('Corrected', '\\.'))
    t.match(await breakOut(page, 'A system message'), after('Deleted', '\\.'))
    t.equal(await state(page).textContent(), 'Connected by WebRTC.', 'so far the call goes on')
    await breakOut(page, 'A response in another voice')
    await assertEnded(page)
    t.match(await becameOf(page, 'A response in another voice').textContent(), after('Cancelled', `\\. ${ENDED}`))
    t.match(await becameOf(page, 'A system message').textContent(), after('Deleted', '\\.'), 'the others stay')
    t.equal(await tries(page).getByRole('button', { disabled: false }).count(), 0)
    const call = JSON.parse(await outcomeOn(page).getByLabel('The call, as Ephemint reports it').textContent() ?? '')
    t.match(call, { status: 'ended', end_reason: 'policy_change' })
  })
  for (const did of ['restored instructions', 'restored tools', 'deleted item.role']) {
    await until(did, () => has(new RegExp(`^call\\.changed .*policy free ${did}$`)))
  }
})

browserTest('a response in another voice is cancelled, or refused by OpenAI once a voice was heard', async (t) => {
  const { playground } = await shared()
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Fred')
    await callThroughEphemint(page)
    t.match(await breakOut(page, 'A response in another voice'), after('Cancelled', '\\.'))
    await page.getByRole('button', { name: 'Say something' }).click()
    await page.getByRole('log').getByText('output_audio_buffer.stopped').waitFor()
    t.match(await breakOut(page, 'A response in another voice'), /^OpenAI refused it: Cannot update .*voice/)
  })
})

browserTest('a response that is complete before it can be cancelled is said to be', async (t) => {
  const { playground } = await shared()
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Fred')
    await chooseCalls(page)
    await page.getByLabel('Output modalities').selectOption('text')
    await callThroughEphemint(page)
    t.match(
      await breakOut(page, 'A response in another voice'), after('Not undone: the response was complete', '\\.')
    )
  })
})

browserTest('where the policy says end, the first change ends the call; what it permits stays', async (t) => {
  const { playground } = await sandboxFor(t)
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Paula')
    await callThroughEphemint(page)
    await tries(page).getByText(
      'The policy pro says on_change: end: the first change that it does not permit ends the call.'
    ).waitFor()
    t.equal(await breakOut(page, 'A response in another voice'), 'Kept: the policy permits it.')
    for (const what of ['Other instructions', 'A tool', 'A system message'] as const) {
      t.match(await breakOut(page, what), new RegExp(`^${ENDED}$`), what)
      await assertEnded(page)
      t.equal(await page.evaluate('document.activeElement.id'), 'answer', 'the pressed button is disabled')
      await callThroughEphemint(page)
    }
  })
})

browserTest('what is only reported is in force, and is said not to be undone', async (t) => {
  const { playground, policyFile, has } = await sandboxWithLines(t)
  await writeFile(policyFile, (await readFile(policyFile, 'utf8')).replace('on_change: restore', 'on_change: report'))
  await until('the new policy', () => has(/policy file reloaded/))
  await visit(t, playground, {}, async (page) => {
    await page.clock.install()
    await page.reload()
    await signInAs(page, 'Fred')
    await callThroughEphemint(page)
    await tries(page).getByText('on_change: report: changes are only counted and written down.').waitFor()
    await press(page, 'Other instructions')
    await becameOf(page, 'Other instructions').filter({ hasText: after('In force', ', not undone yet\\.') }).waitFor()
    await page.clock.fastForward(25_000)
    const missed = /^Not undone within 2\d\.\d s: Ephemint did not see it, or only reports it\.$/
    await becameOf(page, 'Other instructions').filter({ hasText: missed }).waitFor()

    await press(page, 'A system message')
    await becameOf(page, 'A system message').filter({ hasText: /^In force/ }).waitFor()
    await page.getByRole('button', { name: 'Hang up' }).click()
    await outcomeOn(page).getByText('You hung up.').waitFor()
    t.equal(
      await becameOf(page, 'A system message').textContent(), 'The call ended before anything was done about it.'
    )
    t.match(await becameOf(page, 'Other instructions').textContent(), missed)
  })

  async function press (page: Page, name: string): Promise<void> {
    await tries(page).getByRole('button', { name }).click()
  }
})
