// npm run explain: which policy rules a request, and what would be sent upstream; or the refusal and its path.

import { parseArgs } from 'node:util'
import { GUEST_ISSUER, type Caller } from '../callers/caller.ts'
import { policyEnvironment, readSafetyIdentifierSecret } from '../config.ts'
import { ApiError } from '../errors.ts'
import { parseStrictly } from '../http/strict-json.ts'
import { isObject, type Json } from '../json.ts'
import { applyPolicy } from '../policy/apply.ts'
import { readPolicies } from '../policy/file.ts'
import { selectPolicy } from '../policy/select.ts'
import { MINT_ROUTES } from '../routes/mint.ts'
import { readPolicyFile } from '../rulebook.ts'
import { safetyIdentifier } from '../safety-identifier.ts'
import { upstreamRoutes } from '../upstream/mint.ts'
import { run, UsageError } from './command.ts'

const USAGE = `npm run explain -- --config FILE --claims JSON --route ROUTE --body JSON
  --claims  the caller's claims, or guest        --route  ${MINT_ROUTES.map(({ url }) => url.slice(4)).join(' · ')}`

await run(async () => {
  const { values: { config: file = './ephemint.yaml', claims = '{}', route: name, body = '{}' } } = parseArgs({
    options: { config: { type: 'string' }, claims: { type: 'string' }, route: { type: 'string' }, body: { type: 'string' } }
  })
  const route = MINT_ROUTES.find(({ url }) => url === `/v1/${name?.replace(/^\/?(v1\/)?/, '')}`)
  if (route === undefined) throw new UsageError(USAGE)

  const environment = policyEnvironment(process.env, file)
  // Explaining needs no secret: where it comes from stands for it.
  const secrets = { env: (name: string) => `($env ${name})`, file: (path: string) => `($file ${path})` }
  const { policies, problems } = readPolicies(readPolicyFile(file), {
    secrets, legacyOnly: environment.mintApi === 'sessions', hasSafetyIdentifierSecret: true
  })
  if (policies === null) {
    for (const { path, problem } of problems) console.log(`problem  ${path} ${problem}`)
    return 1
  }
  const caller = callerOf(claims)
  try {
    const policy = selectPolicy(policies, caller, safetyIdentifier(caller.issuer, caller.subject, readSafetyIdentifierSecret(process.env)))
    console.log(`policy         ${policy.name}`)
    const { kind, asked } = route.read(body === '' ? undefined : parseStrictly(Buffer.from(body)))
    console.log(`kind           ${kind}`)
    const rules = policy.sessions[kind]
    if (rules === undefined) throw new ApiError('policy_violation')
    const granted = applyPolicy(rules, caller.claims, asked)
    if (granted.prompt !== null) console.log(`prompt         ${granted.prompt}`)
    if (granted.ignored.length > 0) console.log(`ignored        ${granted.ignored.join(', ')}`)
    const routes = upstreamRoutes({ ...granted, kind, legacy: route.legacy }, environment.mintApi).filter((tried) => tried !== undefined)
    for (const [i, { path, body }] of routes.entries()) {
      console.log(`\n${i === 0 ? '' : 'and where that is gone: '}POST ${path}\n${JSON.stringify(body, masked, 2)}`)
    }
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    console.log(`refused        ${error.statusCode} ${error.code}${error.param === null ? '' : ` at ${error.param}`}`)
  }
  return 0
})

function callerOf (claims: string): Caller {
  const parsed = claims === 'guest' ? { iss: GUEST_ISSUER, sub: 'guest' } : readClaims(claims)
  if (!isObject(parsed)) throw new UsageError(USAGE)
  const { iss: issuer = 'https://issuer.example/', sub: subject = 'someone' } = parsed
  return { issuer: String(issuer), subject: String(subject), claims: { ...parsed, iss: issuer, sub: subject }, expiresAt: Infinity }
}

/** Undefined where they are no JSON. */
function readClaims (text: string): Json | undefined {
  try {
    return parseStrictly(Buffer.from(text))
  } catch {
    return undefined
  }
}

/** What a tool authenticates with is a secret also where the file spells it out. */
function masked (this: unknown, key: string, value: Json): Json {
  if (key === 'authorization') return '(secret)'
  if (key === 'headers' && isObject(value)) return Object.fromEntries(Object.keys(value).map((name) => [name, '(secret)']))
  return value
}
