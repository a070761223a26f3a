// A certified OpenID provider over HTTP, with one user agent that logs in and consents.

import { createHash, type JsonWebKey, randomBytes } from 'node:crypto'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider, { type Configuration } from 'oidc-provider'
import type { Test } from 'tap'
import { createSigner } from '../callers/forge.ts'

export const RESOURCE_SERVER = { id: 'mint', secret: 'the secret of the / mint:' + 'x'.repeat(16) }
const APP = { id: 'spa', secret: 'the secret of the app', redirect: 'https://app.example.com/callback' }
/** Resources: access tokens for the first are JWTs, for the second opaque. */
export const JWT_API = 'urn:voice-app'
export const OPAQUE_API = 'urn:voice-app:opaque'

export type OidcProvider = Readonly<{
  issuer: string
  introspection: string
  /** The requested paths, in order. */
  requests: string[]
  /** An access token by the client credentials grant. */
  clientCredentials: (resource: string) => Promise<string>
  /** A user's tokens by the authorization code flow. */
  logIn: (user: string, resource: string) => Promise<{ accessToken: string, idToken: string }>
  revoke: (token: string) => Promise<void>
  /** Switches to a new signing key; `keep` still publishes the old ones. */
  rotate: (keep: boolean) => void
}>

export async function startOidcProvider (t: Test): Promise<OidcProvider> {
  // The provider warns about development settings.
  for (const method of ['info', 'warn'] as const) t.intercept(console, method, { value: () => {} })
  const requests: string[] = []
  let handle: RequestListener
  const server = createServer((request, response) => {
    requests.push(request.url as string)
    handle(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  let generation = 0
  let keys: JsonWebKey[] = []
  const rotate = (keep: boolean): void => {
    const { privateKey } = createSigner('ES256')
    keys = [
      { ...privateKey.export({ format: 'jwk' }), kid: `rotation-${generation++}`, alg: 'ES256', use: 'sig' },
      ...(keep ? keys : [])
    ]
    handle = new Provider(issuer, configure(keys)).callback()
  }
  rotate(false)

  async function post (path: string, form: Record<string, string>): Promise<Record<string, string>> {
    const authorization = `Basic ${btoa([APP.id, APP.secret].map(encodeURIComponent).join(':'))}`
    const answer = await fetch(
      `${issuer}${path}`, { method: 'POST', headers: { authorization }, body: new URLSearchParams(form) }
    )
    if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`)
    return answer.headers.get('content-length') === '0' ? {} : await answer.json() as Record<string, string>
  }

  return {
    issuer,
    introspection: `${issuer}/token/introspection`,
    requests,
    rotate,
    revoke: async (token) => { await post('/token/revocation', { token }) },
    clientCredentials: async (resource) =>
      (await post('/token', { grant_type: 'client_credentials', resource })).access_token as string,
    logIn: async (user, resource) => {
      const verifier = randomBytes(32).toString('base64url')
      const code = await browse(issuer, user, {
        client_id: APP.id,
        redirect_uri: APP.redirect,
        response_type: 'code',
        scope: 'openid',
        resource,
        code_challenge: createHash('sha256').update(verifier).digest('base64url'),
        code_challenge_method: 'S256'
      })
      const tokens = await post(
        '/token',
        { grant_type: 'authorization_code', code, redirect_uri: APP.redirect, code_verifier: verifier, resource }
      )
      return { accessToken: tokens.access_token as string, idToken: tokens.id_token as string }
    }
  }
}

/** Follows the provider through login and consent to the code, as a browser would. */
async function browse (issuer: string, user: string, parameters: Record<string, string>): Promise<string> {
  const cookies = new Map<string, string>()
  let url = `${issuer}/auth?${new URLSearchParams(parameters)}`
  let form: Record<string, string> | undefined
  while (url.startsWith(issuer)) {
    const cookie = [...cookies].map((pair) => pair.join('=')).join('; ')
    const answer = await fetch(
      url, { redirect: 'manual', headers: { cookie }, ...(form && { method: 'POST', body: new URLSearchParams(form) }) }
    )
    for (const set of answer.headers.getSetCookie()) {
      const [name = '', value = ''] = (set.split(';', 1)[0] as string).split('=')
      cookies.set(name, value)
    }
    const location = answer.headers.get('location')
    const page = location === null ? await answer.text() : ''
    if (answer.status >= 400) throw new Error(`${url} answered ${answer.status}: ${page}`)
    if (location === null) {
      form = page.includes('name="login"') ? { prompt: 'login', login: user, password: 'any' } : { prompt: 'consent' }
    } else [url, form] = [new URL(location, issuer).href, undefined]
  }
  return new URL(url).searchParams.get('code') as string
}

function configure (keys: JsonWebKey[]): Configuration {
  return {
    jwks: { keys: keys as never },
    cookies: { keys: ['a cookie key of the tests'] },
    clients: [
      {
        client_id: APP.id,
        client_secret: APP.secret,
        grant_types: ['authorization_code', 'client_credentials'],
        redirect_uris: [APP.redirect]
      },
      {
        client_id: RESOURCE_SERVER.id,
        client_secret: RESOURCE_SERVER.secret,
        grant_types: [],
        response_types: [],
        redirect_uris: []
      }
    ],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    extraTokenClaims: () => ({ plan: 'pro' }),
    features: {
      devInteractions: { enabled: true },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => ({
          scope: '',
          audience: resource,
          accessTokenFormat: resource === JWT_API
            ? 'jwt'
            : 'opaque',
          jwt: { sign: { alg: 'ES256' } }
        })
      }
    }
  }
}
