// Requests to the identity provider and to Ephemint, as the page of an app sends them.

const EXPOSED_HEADERS = [
  'x-realtime-url', 'location', 'x-call-seconds', 'ratelimit-limit', 'ratelimit-remaining', 'ratelimit-reset',
  'retry-after', 'x-request-id'
]

/** `message` names the server that cannot be reached and a likely cause. */
export class Unreachable extends Error {}

export const ROUTES = {
  realtime: 'realtime/client_secrets',
  transcription: 'realtime/client_secrets',
  translation: 'realtime/translations/client_secrets'
}
export const CALL_ROUTE = 'realtime/calls'
export const BETA_ROUTES = ['realtime/sessions', 'realtime/transcription_sessions']

/** The users to choose from. `credentials` resolves to the headers or cookies of their requests. */
export async function signInsOf ({ identityProviderUrl }) {
  const users = await (await askProvider('users')).json()
  const byToken = users.map(({ sub, plan, org }) => ({
    id: sub,
    user: sub,
    title: capital(sub),
    note: `plan ${plan}, of ${org.name}`,
    credentials: async () => ({ headers: { Authorization: `Bearer ${await tokenOf(sub)}` } })
  }))
  const { user, title } = byToken.at(-1)
  return [
    ...byToken,
    {
      id: 'cookie',
      user,
      title: `${title}, by cookie`,
      note: 'the session cookie of an app',
      credentials: async () => {
        await askProvider(`login?user=${user}`, { method: 'POST', credentials: 'include' })
        return { credentials: 'include' }
      }
    },
    { id: 'guest', title: 'Guest', note: 'no credential, audio-only calls', credentials: async () => ({}) }
  ]

  async function tokenOf (user) {
    return (await askProvider(`token?user=${encodeURIComponent(user)}`)).text()
  }

  async function askProvider (path, init) {
    const response = await reach('The identity provider', `${identityProviderUrl}/${path}`, init)
    if (!response.ok) throw new Unreachable(`The identity provider answered /${path} with ${response.status}.`)
    return response
  }
}

/** Removes what pasting from a terminal or a mail adds: line breaks, indentation, the scheme. */
export function tidyToken (pasted) {
  return pasted.trim().replace(/^bearer\s+/i, '').replace(/\s+/g, '')
}

export function ownToken (token) {
  return {
    id: 'own', title: 'Your own token', credentials: async () => ({ headers: { Authorization: `Bearer ${token}` } })
  }
}

/** A form, or JSON as text. Resolves to the request and the response, refusals included. Throws Unreachable. */
export async function ask ({ mintUrl }, signIn, path, body) {
  const url = `${mintUrl}/${path}`
  const method = body === undefined ? 'GET' : 'POST'
  const { headers, credentials = 'omit' } = await signIn.credentials()
  const type = typeof body === 'string' ? { 'Content-Type': 'application/json' } : {}
  const response = await reach('Ephemint', url, { method, credentials, headers: { ...type, ...headers }, body })
  const isSdp = response.headers.get('content-type')?.startsWith('application/sdp')
  const answer = await (isSdp ? response.text() : response.json()).catch(() => {
    throw new Unreachable(`The response from ${url} is not one of Ephemint’s.`)
  })
  return {
    sent: { method, url, body: body instanceof FormData ? partsOf(body) : body },
    status: response.status,
    ok: response.ok,
    headers: Object.fromEntries(
      EXPOSED_HEADERS.flatMap((name) => response.headers.has(name) ? [[name, response.headers.get(name)]] : [])
    ),
    answer
  }
}

/**
 * {policy, on_change} of a call, or null. An app learns nothing of it: the sandbox has it from Ephemint's audit line
 * and the policy file.
 */
export async function changeRuleOf (callUrl) {
  try {
    const response = await fetch(`calls/${callUrl.split('/').at(-1)}/rule`)
    return response.ok ? await response.json() : null
  } catch {
    return null
  }
}

function partsOf (form) {
  return [...form].map(([name, value]) => `${name}:\n${value}`).join('\n\n')
}

export async function reach (server, url, init) {
  try {
    return await fetch(url, init)
  } catch {
    const cors = server === 'Ephemint' ? ' If it is, its CORS_ORIGINS may lack the origin of this page.' : ''
    throw new Unreachable(`${server} cannot be reached at ${new URL(url).origin}. Is npm run dev still running?${cors}`)
  }
}

function capital (name) {
  return name[0].toUpperCase() + name.slice(1)
}
