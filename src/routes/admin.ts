// Administration, with a token of its own and on the listener for operations alone: lists and ends the calls of all
// callers, and takes this replica out of rotation.

import { hash, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { readHeader } from '../callers/credential.ts'
import type { Calls } from '../calls/calls.ts'
import type { KnownCall } from '../calls/remote.ts'
import type { CallView } from '../calls/view.ts'
import { atMost, type Clock } from '../clock.ts'
import { ApiError } from '../errors.ts'
import { assertEmpty } from '../http/strict-json.ts'
import { isObject, type JsonObject } from '../json.ts'
import { HANG_UP_WAIT_MS } from './calls.ts'

export type AdminDeps = Readonly<{
  token: string
  calls: Pick<Calls, 'all' | 'get'>
  clock: Clock
  rotation: Readonly<{ isIn: () => boolean, set: (isIn: boolean) => void }>
}>

type ById = { Params: { id: string } }
type Filter = Readonly<Partial<Record<typeof FILTERS[number], string>>>

const FILTERS = ['policy', 'safety_identifier'] as const

export function registerAdmin (ops: FastifyInstance, { token, calls, clock, rotation }: AdminDeps): void {
  /** Resolves to how many of them have ended in time. */
  const hangUp = async (ending: readonly KnownCall[]): Promise<number> => {
    let ended = 0
    for (const call of ending) {
      call.end('operator', new ApiError('policy_violation', { reason: 'operator' }))
      call.hangUpAgain()
    }
    await atMost(clock, HANG_UP_WAIT_MS, Promise.all(ending.map(({ over }) => over.then(() => { ended++ }))))
    return ended
  }

  const find = async (id: string): Promise<KnownCall> => {
    const call = await calls.get(id)
    if (call === undefined) throw new ApiError('not_found')
    return call
  }

  ops.register(async (scope) => {
    scope.addHook('onRequest', requireToken(token))

    scope.get('/calls', async ({ query }) => {
      const isWanted = matches(filterOf(query as JsonObject))
      return { object: 'list', data: (await calls.all()).filter(isWanted).flatMap((call) => describe(call) ?? []) }
    })

    scope.post<ById>('/calls/:id/hangup', async ({ params, body }) => {
      assertEmpty(body)
      await hangUp([await find(params.id)])
      return describe(await find(params.id))
    })

    scope.post('/calls/hangup', async ({ body }) => {
      const ending = (await calls.all()).filter(matches(selectionOf(body)))
      return { matched: ending.length, ended: await hangUp(ending) }
    })

    scope.get('/rotation', async () => ({ ready: rotation.isIn() }))
    scope.post('/rotation', async ({ body }) => {
      if (!isObject(body) || Object.keys(body).length > 1 || typeof body.ready !== 'boolean') {
        throw new ApiError('invalid_request')
      }
      rotation.set(body.ready)
      return { ready: rotation.isIn() }
    })
  })
}

/** Compared by digest, so that the time it takes reveals neither the token nor its length. */
function requireToken (token: string): (request: FastifyRequest) => Promise<void> {
  const digest = (value: string) => hash('sha256', value, 'buffer')
  const expected = digest(token)
  return async (request) => {
    const [, given = ''] = /^Bearer +(\S+)$/i.exec(readHeader(request, 'authorization') ?? '') ?? []
    if (!timingSafeEqual(digest(given), expected)) throw new ApiError('invalid_credentials', { reason: 'admin_token' })
  }
}

type Described = CallView & Readonly<{ policy: string, kind: string, safety_identifier: string }>

/** Null while upstream has not created it. */
function describe ({ facts, view }: KnownCall): Described | null {
  const seen = view()
  const { policy, kind, safetyIdentifier } = facts
  return seen === null ? null : { ...seen, policy, kind, safety_identifier: safetyIdentifier }
}

/** A filter that is empty, unknown or given twice is a mistake, and not one that matches every call. */
function filterOf (given: JsonObject): Filter {
  for (const [name, value] of Object.entries(given)) {
    const isFilter = FILTERS.some((known) => known === name) && typeof value === 'string' && value !== ''
    if (!isFilter) throw new ApiError('invalid_request', { param: name })
  }
  return given as Filter
}

/** Exactly one of the filters, or `all`. */
function selectionOf (body: unknown): Filter {
  if (!isObject(body) || Object.keys(body).length !== 1) throw new ApiError('invalid_request')
  return body.all === true ? {} : filterOf(body)
}

function matches ({ policy, safety_identifier: identifier }: Filter): (call: Pick<KnownCall, 'facts'>) => boolean {
  return ({ facts }) => (policy ?? facts.policy) === facts.policy &&
    (identifier ?? facts.safetyIdentifier) === facts.safetyIdentifier
}
