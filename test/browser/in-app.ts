// A page that runs the browser code of the documentation, as an app would, against the sandbox.

import type { Page } from 'playwright-core'
import tap, { type Test } from 'tap'
import { servePages } from './app-page.ts'
import { sandboxFor, visit } from './sandbox.ts'

type App = Readonly<{
  page: Page
  identityProvider: string
  /** Asks Ephemint as the page's user, but not from the page. */
  ask: (path: string) => Promise<any>
  stopEphemint: () => Promise<void>
  /** Evaluates an expression with `names` of an example, `mintUrl`, `userToken` and `mintPlain`. */
  run: (names: string, file: string, expression: string) => Promise<any>
}>

type Body = (app: App) => Promise<void>

let common: ReturnType<typeof begin> | undefined

async function begin (owner: Test) {
  const origin = await servePages(owner)
  return { origin, ...await sandboxFor(owner, { origins: [origin] }) }
}

/** In the app that the tests share. */
export async function inApp (t: Test, body: Body): Promise<void> {
  await inside(t, await (common ??= begin(tap)), body)
}

/** In an app of its own, for tests that break something. */
export async function inOwnApp (t: Test, body: Body): Promise<void> {
  await inside(t, await begin(t), body)
}

async function inside (
  t: Test, { origin, ephemint, identityProvider, stopEphemint }: Awaited<ReturnType<typeof begin>>, body: Body
): Promise<void> {
  const ask = async (path: string) => {
    const token = await (await fetch(`${identityProvider}/token?user=paula`)).text()
    return (await fetch(`${ephemint}/v1${path}`, { headers: { authorization: `Bearer ${token}` } })).json()
  }
  await visit(t, origin, {}, async (page) => {
    const prologue = `
      const mintUrl = '${ephemint}/v1'
      const userToken = await (await fetch('${identityProvider}/token?user=paula')).text()
      const mintPlain = (await import('/test/browser/examples/mint.js')).mint
      const waitFor = (events, type) => new Promise((resolve) => {
        const look = () => {
          const event = events.find((one) => one.type === type)
          event === undefined ? setTimeout(look, 10) : resolve(event)
        }
        look()
      })`
    const run = (names: string, file: string, expression: string) =>
      page.evaluate(`(async () => {
        ${prologue}
        const ${names} = await import('/test/browser/examples/${file}')
        return ${expression}
      })()`)
    await body({ run, page, identityProvider, ask, stopEphemint })
  })
}
