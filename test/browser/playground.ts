// What a person does in the playground, named.

import type { Page } from 'playwright-core'

export type Who = 'Fred' | 'Paula' | 'Paula, by cookie' | 'Guest' | 'Your own token'

/** Resolves when the form is that of this user. */
export async function signInAs (page: Page, who: Who): Promise<void> {
  const told = page.waitForResponse(
    (response) => response.url().endsWith('/realtime/policy') && response.request().method() === 'GET'
  )
  await page.locator('#ways label').filter({ hasText: new RegExp(`^${who}(plan|the|presents|of)`) }).click()
  await told
  await page.locator('#mint:enabled').waitFor()
}

export async function mint (page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Mint a client secret' }).click()
}

export const outcome = (page: Page) => page.locator('#outcome')
export const spoken = (page: Page) => page.locator('#spoken')
