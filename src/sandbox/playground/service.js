// What the page asks of the identity provider and of Ephemint, as the page of an app would.

const READABLE = [
  'x-realtime-url', 'ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset', 'retry-after', 'x-request-id'
]

/** `message` says who cannot be reached, and what may be the matter. */
export class Unreachable extends Error {}

export const ROUTES = {
  realtime: 'realtime/client_secrets',
  transcription: 'realtime/client_secrets',
  translation: 'realtime/translations/client_secrets'
}
export const BETA_ROUTES = ['realtime/sessions', 'realtime/transcription_sessions']

/** The ways of saying who one is. `present` gives what a request then carries. */
export async function waysOf ({ identityProviderUrl }) {
  const users = await (await askProvider('users')).json()
  const byToken = users.map(({ sub, plan, org }) => ({
    id: sub,
    user: sub,
    title: capital(sub),
    note: `plan ${plan}, of ${org.name}`,
    present: async () => ({ headers: { Authorization: `Bearer ${await tokenOf(sub)}` } })
  }))
  const { user, title } = byToken.at(-1)
  return [
    ...byToken,
    {
      id: 'cookie',
      user,
      title: `${title}, by cookie`,
      note: 'the session cookie of an app',
      present: async () => {
        await askProvider(`login?user=${user}`, { method: 'POST', credentials: 'include' })
        return { credentials: 'include' }
      }
    },
    { id: 'guest', title: 'Guest', note: 'presents nothing', present: async () => ({}) }
  ]

  async function tokenOf (user) {
    return (await askProvider(`token?user=${encodeURIComponent(user)}`)).text()
  }

  async function askProvider (path, init) {
    const response = await reach('The identity provider', `${identityProviderUrl}/${path}`, init)
    if (!response.ok) throw new Unreachable(`The identity provider answers ${response.status} to /${path}.`)
    return response
  }
}

/** A token as it comes out of a terminal or a mail: wrapped, indented, with its scheme. */
export function tidyToken (pasted) {
  return pasted.trim().replace(/^bearer\s+/i, '').replace(/\s+/g, '')
}

export function ownToken (token) {
  return {
    id: 'own', title: 'Your own token', present: async () => ({ headers: { Authorization: `Bearer ${token}` } })
  }
}

/** Sent and answered; a refusal is an answer. Throws Unreachable. */
export async function ask ({ mintUrl }, way, path, body) {
  const url = `${mintUrl}/${path}`
  const method = body === undefined ? 'GET' : 'POST'
  const { headers, credentials = 'omit' } = await way.present()
  const type = body === undefined ? {} : { 'Content-Type': 'application/json' }
  const response = await reach('Ephemint', url, { method, credentials, headers: { ...type, ...headers }, body })
  const answer = await response.json().catch(
    () => { throw new Unreachable(`Something answers at ${url}, but not as Ephemint does.`) }
  )
  return {
    sent: { method, url, body },
    status: response.status,
    ok: response.ok,
    headers: Object.fromEntries(
      READABLE.flatMap((name) => response.headers.has(name) ? [[name, response.headers.get(name)]] : [])
    ),
    answer
  }
}

export async function reach (who, url, init) {
  try {
    return await fetch(url, init)
  } catch {
    const refused = who === 'Ephemint' ? ' If it is, this page may not be among its CORS_ORIGINS.' : ''
    throw new Unreachable(`${who} cannot be reached at ${new URL(url).origin}. Is npm run dev still running?${refused}`)
  }
}

function capital (name) {
  return name[0].toUpperCase() + name.slice(1)
}
