// The caller's choices: paths with their schemas, prompts, lifetimes, remaining limits. Never a fixed value.

import type { FastifyInstance } from 'fastify'
import Type from 'typebox'
import type { JsonObject } from '../json.ts'
import { isCallers, isOfSeconds, type LimitStore, secondsBucketsOf, type WindowState } from '../limits/limits.ts'
import { describeCalls, type Prompt, type SessionRules } from '../policy/compile.ts'
import { KINDS } from '../realtime/session.ts'
import type { AdmittedCaller } from './admission.ts'

const Schemas = Type.Record(Type.String(), Type.Unknown())

const SessionView = Type.Object({
  allow: Schemas,
  prompts: Type.Array(Type.Object({ id: Type.String(), version: Type.Optional(Type.String()), variables: Schemas })),
  /** Aliases: names of models that old clients send. */
  models: Type.Array(Type.String()),
  expires_after: Type.Object({ default: Type.Integer(), max: Type.Integer() }),
  /** Left out where there are no calls. */
  calls: Type.Optional(Type.Object({
    max_seconds: Type.Integer(), idle_seconds: Type.Integer(), data_channel: Type.Boolean()
  })),
  secrets: Type.Optional(Type.Literal(false, { description: 'No client secret is minted: calls only.' }))
})

const WindowView = Type.Object(
  { limit: Type.Integer(), remaining: Type.Integer(), reset: Type.Integer({ description: 'seconds' }) }
)

export const PolicyAnswer = Type.Object({
  sessions: Type.Partial(Type.Object({ realtime: SessionView, transcription: SessionView, translation: SessionView })),
  limits: Type.Partial(Type.Object({
    minute: WindowView,
    hour: WindowView,
    day: WindowView,
    call_seconds: Type.Partial(Type.Object({ hour: WindowView, day: WindowView }))
  }))
})

export function registerPolicy (app: FastifyInstance, limits: LimitStore): void {
  app.get('/v1/realtime/policy', { schema: { response: { 200: PolicyAnswer } } }, async (request) => {
    const { policy, buckets, safetyIdentifier } = request.caller as AdmittedCaller
    const seconds = secondsBucketsOf(policy, safetyIdentifier)
    const windows = await limits.peek([...buckets, ...seconds].filter(isCallers))
    const [ofSeconds, ofMints] = [windows.filter(isOfSeconds), windows.filter((window) => !isOfSeconds(window))]
    return {
      sessions: Object.fromEntries(KINDS.flatMap((kind) => {
        const rules = policy.sessions[kind]
        return rules === undefined ? [] : [[kind, viewOf(rules)]]
      })),
      limits: { ...windowsView(ofMints), ...ofSeconds.length === 0 ? {} : { call_seconds: windowsView(ofSeconds) } }
    }
  })
}

function windowsView (windows: readonly WindowState[]): JsonObject {
  return Object.fromEntries(windows.map(({ window, limit, remaining, resetMs }) =>
    [window, { limit, remaining, reset: Math.ceil(resetMs / 1000) }]))
}

function viewOf ({ allowed, prompts, aliases, expiresAfter, calls, hasSecrets }: SessionRules): JsonObject {
  // The schema of the answer leaves out members of calls that are not for clients, such as `on_change`.
  return {
    allow: allowed,
    prompts: [...prompts.values()].map(promptView),
    models: [...aliases.keys()],
    expires_after: { ...expiresAfter },
    ...calls === null ? {} : { calls: describeCalls(calls) },
    ...hasSecrets ? {} : { secrets: false }
  }
}

/** The name of a prompt is its id, or `id@version`. */
function promptView ({ name, variableSchemas }: Prompt): JsonObject {
  const [id = name, version] = name.split(/@(?=[^@]*$)/)
  return { id, ...(version === undefined ? {} : { version }), variables: variableSchemas }
}
