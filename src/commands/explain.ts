// npm run explain: prints the policy that applies to a request, and the upstream request; or the refusal and its path.

import { parseArgs } from 'node:util'
import type { Caller } from '../callers/caller.ts'
import type { CallerEntry } from '../callers/schema.ts'
import { policyEnvironment, processEnv, readSafetyIdentifierSecret } from '../config/environment.ts'
import { parseStrictly } from '../http/strict-json.ts'
import type { Json } from '../json.ts'
import { describeCalls } from '../policy/compile.ts'
import { readPolicies } from '../rulebook/policies.ts'
import { readPolicyFile } from '../rulebook/rulebook.ts'
import { upstreamRoutes } from '../upstream/mint.ts'
import { run, UsageError } from './command.ts'
import { callerOf, dryRun, masked, ROUTE_NAMES, routeNamed, STAND_INS } from './dry-run.ts'

const USAGE = `npm run explain -- --config FILE --claims JSON --route ROUTE --body JSON
  --claims  the caller's claims, or guest        --route  ${ROUTE_NAMES.join(' · ')}`

await run(async () => {
  const { values: { config: file = './ephemint.yaml', claims = '{}', route: name = '', body = '{}' } } = parseArgs({
    options: {
      config: { type: 'string' }, claims: { type: 'string' }, route: { type: 'string' }, body: { type: 'string' }
    }
  })
  const route = routeNamed(name)
  const given = claims === 'guest' ? claims : readClaims(claims)
  if (route === undefined || callerOf(given) === undefined) throw new UsageError(USAGE)

  const environment = policyEnvironment(processEnv, file)
  const { policies, callers, problems } = readPolicies(readPolicyFile(file), {
    secrets: STAND_INS, legacyOnly: environment.mintApi === 'sessions', hasSafetyIdentifierSecret: true
  })
  if (policies === null) {
    for (const { path, problem } of problems) console.log(`problem  ${path} ${problem}`)
    return 1
  }
  const caller = callerOf(given, callers as CallerEntry[]) as Caller
  const { policy, kind, granted, calls, refusal } = dryRun(
    policies, { caller, route, body, safetyIdentifierSecret: readSafetyIdentifierSecret(processEnv) }
  )
  if (policy !== null) console.log(`policy         ${policy}`)
  if (kind !== null) console.log(`kind           ${kind}`)
  if (refusal !== null) {
    const at = refusal.param === null ? '' : ` at ${refusal.param}`
    console.log(`refused        ${refusal.statusCode} ${refusal.code}${at}`)
  }
  if (kind === null || granted === null) return 0
  if (granted.prompt !== null) console.log(`prompt         ${granted.prompt}`)
  if (granted.ignored.length > 0) console.log(`ignored        ${granted.ignored.join(', ')}`)
  if (calls !== null) {
    for (const [key, value] of Object.entries(describeCalls(calls))) {
      console.log(`${key.padEnd(14)} ${value ?? 'none'}`)
    }
    const session = JSON.stringify({ ...granted.session, type: kind }, masked, 2)
    console.log(`\nthe session of POST /realtime/calls\n${session}`)
    return 0
  }
  const routes = upstreamRoutes({ ...granted, kind, legacy: route.legacy }, environment.mintApi).filter(
    (tried) => tried !== undefined
  )
  for (const [i, { path, body }] of routes.entries()) {
    console.log(`\n${i === 0 ? '' : 'if that route does not exist: '}POST ${path}\n${JSON.stringify(body, masked, 2)}`)
  }
  return 0
})

/** Undefined if `text` is not JSON. */
function readClaims (text: string): Json | undefined {
  try {
    return parseStrictly(Buffer.from(text))
  } catch {
    return undefined
  }
}
