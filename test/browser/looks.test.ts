// The playground for everybody: by keyboard, by screen reader, on a phone, in the dark, without movement.

import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { barriersOf, browserTest } from './chromium.ts'
import { shared, visit } from './harness.ts'
import { mint, outcome, signInAs } from './playground.ts'

async function isSound (t: Test, page: Page, state: string): Promise<void> {
  t.same(await barriersOf(page), [], `${state}: nothing found`)
  t.ok(
    await page.evaluate('document.documentElement.scrollWidth <= innerWidth'),
    `${state}: nothing is wider than the window`
  )
}

/** Each state is a picture too, for those who look. */
async function look (t: Test, page: Page, name: string): Promise<void> {
  await isSound(t, page, name)
  await page.screenshot({ path: `test/.screenshots/${name}.png`, fullPage: true })
}

for (const [width, colorScheme] of [[1280, 'light'], [1280, 'dark'], [360, 'light'], [360, 'dark']] as const) {
  browserTest(`at ${width} px, ${colorScheme}, every state can be read by everybody`, async (t) => {
    const { playground } = await shared()
    const name = (state: string) => `${state}-${width}-${colorScheme}`
    await visit(t, playground, {
      viewport: { width, height: 800 }, colorScheme, reducedMotion: 'reduce'
    }, async (page) => {
      await page.locator('#mint:enabled').waitFor()
      await look(t, page, name('start'))

      await signInAs(page, 'Paula')
      await page.getByLabel('Prompt').selectOption('support')
      await mint(page)
      await page.getByRole('button', { name: 'Connect by WebSocket' }).click()
      await page.getByLabel('Message to send').fill('Hello')
      await page.keyboard.press('Enter')
      await page.getByRole('log').getByText('response.done', { exact: true }).waitFor()
      await outcome(page).getByText('Minted session').click()
      await look(t, page, name('connected'))

      await page.getByRole('button', { name: 'Custom instructions' }).click()
      await outcome(page).getByText('Refused, 403').waitFor()
      await page.locator('#modes label', { hasText: 'JSON' }).click()
      await page.getByRole('tab', { name: 'openai' }).click()
      await look(t, page, name('refused'))

      await page.locator('#sign-ins label', { hasText: 'Your own token' }).click()
      await page.getByRole('button', { name: 'Use this token' }).click()
      await page.getByRole('alert').waitFor()
      await look(t, page, name('own-token'))
    })
  })
}

browserTest('the keyboard does it all, and shows where it is', async (t) => {
  const { playground } = await shared()
  await visit(t, playground, { reducedMotion: 'reduce' }, async (page) => {
    await page.locator('#mint:enabled').waitFor()
    const press = (key: string) => page.keyboard.press(key)
    const focused = () =>
      page.evaluate('document.activeElement.textContent || document.activeElement.ariaLabel || document.activeElement.name || document.activeElement.id') as Promise<string>
    const tabTo = async (wanted: string, key = 'Tab') => {
      const passed: string[] = []
      for (let i = 0; i < 60 && !passed.at(-1)?.startsWith(wanted); i++) {
        await press(key)
        passed.push(await focused())
      }
      t.match(passed.at(-1), new RegExp(`^${wanted}`), `reached ${wanted} within ${passed.length}`)
      t.ok(
        await page.evaluate(
          '[document.activeElement, document.activeElement.nextElementSibling].some((one) => one && getComputedStyle(one).outlineStyle !== \'none\')'
        ),
        `${wanted} is seen to have the focus`
      )
    }
    await tabTo('Skip to the response')
    await tabTo('sign-in')
    const policyLoaded = page.waitForResponse(/realtime\/policy$/)
    await press('ArrowDown')
    await policyLoaded
    await page.getByLabel('Model').waitFor()
    await tabTo('left to the policygpt-realtime-2.1')
    await press('ArrowDown')
    await tabTo('Mint a client secret')
    await press('Enter')
    await outcome(page).getByText('Minted', { exact: true }).waitFor()
    await tabTo('Copy')
    await press('Enter')
    t.match(await page.evaluate('navigator.clipboard.readText()'), /^ek_/)
    await tabTo('Connect by WebRTC')
    await press('Enter')
    await outcome(page).getByText('Connected by WebRTC.', { exact: true }).waitFor()
    t.equal(await focused(), 'Hang up', 'what was pressed has gone; the focus has not')
    await press('Enter')
    await outcome(page).getByText('The call has ended.').waitFor()
    t.equal(await focused(), 'Connect by WebRTC')
    await tabTo('curl')
    await press('ArrowRight')
    t.equal(await focused(), 'fetch')
    t.match(await page.getByRole('tabpanel').textContent(), 'await fetch(')
    await tabTo('An unknown field')
    await press('Space')
    await outcome(page).getByText('Refused, 403').waitFor()
  })
})

browserTest('whoever wants no movement gets none', async (t) => {
  const { playground } = await shared()
  for (const [reducedMotion, expected] of [['reduce', '0s'], ['no-preference', '0.15s']] as const) {
    await visit(t, playground, { reducedMotion }, async (page) => {
      const seconds = await page.evaluate(
        "getComputedStyle(document.getElementById('mint')).transitionDuration"
      ) as string
      t.match(seconds, expected, reducedMotion)
    })
  }
})

browserTest('what happens is said to those who do not see it', async (t) => {
  const { playground } = await shared()
  await visit(t, playground, {}, async (page) => {
    const heard = page.getByRole('status')
    await signInAs(page, 'Paula')
    await heard.getByText('Paula may mint realtime, transcription, translation.').waitFor({ state: 'attached' })
    await mint(page)
    await heard.getByText(/^Minted\. The secret is valid for \d+ s\.$/).waitFor({ state: 'attached' })
    await page.getByRole('button', { name: 'Connect by WebSocket' }).click()
    await heard.getByText('Connected by WebSocket.').waitFor({ state: 'attached' })
  })
})
