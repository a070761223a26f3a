// How a call that the playground made through Ephemint ends without its button: by time, by policy, with the page.

import { readFile, writeFile } from 'node:fs/promises'
import type { Sandbox } from '../../src/sandbox/start.ts'
import { until } from '../support/until.ts'
import { browserTest } from './chromium.ts'
import { callThroughEphemint, outcomeOn, signInAs, state } from './playground.ts'
import { sandboxFor, sandboxWithLines, visit } from './sandbox.ts'

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

browserTest('the seconds that remain count down, and an end that the page did not wish is explained', async (t) => {
  const sandbox = await sandboxFor(t)
  await changePolicy(sandbox, 'guest', 'idle_seconds: 15', 'idle_seconds: 5')
  await visit(t, sandbox.playground, {}, async (page) => {
    await signInAs(page, 'Guest')
    await callThroughEphemint(page)
    const timer = outcomeOn(page).getByRole('timer', { name: 'Time left' })
    const left = async () => Number(/^(\d+) s left of at most 30 s$/.exec(await timer.textContent() ?? '')?.[1])
    const first = await left()
    t.ok(first > 25 && first <= 30, `${first} s`)
    await until('two seconds less', async () => await left() <= first - 2)
    // Silence counts once something was said.
    await page.getByRole('button', { name: 'Say something' }).click()
    await outcomeOn(page).getByText('Call ended').waitFor()
    t.equal(await state(page).textContent(), 'No one said anything for too long.')
    t.notOk(await timer.isVisible())
  })
})

browserTest('a user whom the policy file stops in a call sees why, and is then refused', async (t) => {
  const sandbox = await sandboxFor(t)
  await visit(t, sandbox.playground, {}, async (page) => {
    await signInAs(page, 'Guest')
    await callThroughEphemint(page)
    await changePolicy(sandbox, 'guest', /^ +calls: .*data_channel: false.*\n/m, '')
    await outcomeOn(page).getByText('The policy file no longer permits this user a call.').waitFor()
    await page.getByRole('button', { name: 'Call through Ephemint' }).click()
    await outcomeOn(page).getByText('Refused, 403').waitFor()
    // The page has learned of the new policy once the user is chosen again.
    await signInAs(page, 'Fred')
    await signInAs(page, 'Guest')
    await page.getByText('The policy grants this user no calls. Make one to see the refusal.').waitFor()
    await page.getByRole('button', { name: 'Call through Ephemint' }).click()
    await outcomeOn(page).getByText('The policy grants this user no calls. Mint a client secret instead.').waitFor()
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
      await until('the end', () => has(new RegExp(`^call\\.ended +\\(client\\) .* policy ${policy}\\b`)))
    }
  })
  t.ok(has(/POST \/v1\/realtime\/calls\/rtc_\w+\/hangup 200/))
})

browserTest('another user, a new call, or starting over ends the call too', async (t) => {
  const { playground, count } = await sandboxWithLines(t)
  await visit(t, playground, {}, async (page) => {
    await signInAs(page, 'Paula')
    await callThroughEphemint(page)
    await signInAs(page, 'Guest')
    await until('the end of the first', () => count(/^call\.ended +\(client\) .* policy pro/) === 1)
    await callThroughEphemint(page)
    // A guest may have one call at a time: the page has ended the other before it makes this one.
    await callThroughEphemint(page)
    await until('the end of the second', () => count(/^call\.ended +\(client\) .* policy guest/) === 1)
    await page.getByRole('button', { name: 'Start over' }).click()
    await until('the end of the third', () => count(/^call\.ended +\(client\) .* policy guest/) === 2)
    t.match(await outcomeOn(page).textContent(), 'press Call through Ephemint.')
  })
})
