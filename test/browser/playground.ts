// Steps of a user in the playground.

import type { Page } from 'playwright-core'

export type Who = 'Fred' | 'Paula' | 'Paula, by cookie' | 'Guest' | 'Your own token'

/** Resolves once the form is for this user. */
export async function signInAs (page: Page, who: Who): Promise<void> {
  const option = page.locator('#sign-ins label').filter({ hasText: new RegExp(`^${who}(plan|the|no|from)`) })
  // The page signs its first user in by itself.
  if (!await option.getByRole('radio').isChecked()) {
    const policyLoaded = page.waitForResponse(
      (response) => response.url().endsWith('/realtime/policy') && response.request().method() === 'GET'
    )
    await option.click()
    await policyLoaded
  }
  await page.locator('#mint:enabled').waitFor()
}

export async function mint (page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Mint a client secret' }).click()
}

/** Resolves once the form is for calls. */
export async function chooseCalls (page: Page): Promise<void> {
  await page.locator('#ways label', { hasText: 'Call through Ephemint' }).click()
  await page.getByRole('button', { name: 'Call through Ephemint' }).waitFor()
}

/** Resolves once the call is connected. */
export async function callThroughEphemint (page: Page): Promise<void> {
  await chooseCalls(page)
  await page.getByRole('button', { name: 'Call through Ephemint' }).click()
  await outcomeOn(page).getByText('Connected by WebRTC.', { exact: true }).waitFor()
}

export const outcomeOn = (page: Page) => page.locator('#outcome')
/** The state of a call. */
export const state = (page: Page) => outcomeOn(page).locator('.state')
export const spoken = (page: Page) => page.locator('#spoken')

/** The part of a call with the attempts to break out. */
export const tries = (page: Page) => outcomeOn(page).getByRole('region', { name: 'Try to break out' })

export const becameOf = (page: Page, name: string) =>
  tries(page).getByRole('listitem').filter({ hasText: name }).locator('p')

/** Presses the button, and resolves to what became of it. */
export async function breakOut (page: Page, name: string): Promise<string> {
  await tries(page).getByRole('button', { name }).click()
  const settled = becameOf(page, name).filter({ hasNotText: /^(Sent|In force)/ })
  await settled.waitFor()
  return await settled.textContent() ?? ''
}
