// npm run drain-test -- --calls [--live N] [--replicas N]: restarts replicas that share calls, one after the other,
// under live calls and a client that goes to the next replica as a gateway does. No call may be hung up, and no caller
// may notice. With --one all calls are at one replica, and only that one stops: how many the others take in a second.

import { setTimeout as wait } from 'node:timers/promises'
import { Pool } from 'undici'
import type { JsonObject } from '../src/json.ts'
import { type CallReplicas, startCallReplicas } from './calls/call-replicas.ts'
import { policyOf } from './calls/harness.ts'
import { responseCreated, responseDone, usageOf } from './support/call-events.ts'
import { notFound } from './support/call-replies.ts'
import type { CallsUpstream } from './support/calls-upstream.ts'
import { createScript } from './support/counting.ts'
import { OFFER } from './support/sdp.ts'
import { type Service, tokenOf } from './support/service.ts'

export type CallsDrain = Readonly<{ live: number, replicas: number, isOne: boolean, report: (line: string) => void }>

const CALLS = '/v1/realtime/calls'
const EXIT_WITHIN_MS = 25_000
const TRIES = 6
const LATE_MS = 500
const RESPONSE_TOKENS = 12
/** A close may overtake events that the service has not read yet. */
const UNREAD_MS = 500
/** How many calls are begun at once, before the restart. */
const BEGINNERS = 8
const BEGIN_EVERY_MS = 250
const SHORT_CALL_MS = 4000

type CallRequest = Readonly<{ method?: 'GET' | 'POST', path: string, token: string, body?: string }>
type Reply = Readonly<{ status: number, body: any, location: string }>
type Gateway = Readonly<{
  ask: (request: CallRequest) => Promise<Reply>
  /** The number of requests that were sent. */
  sent: () => number
  failures: string[]
  /** Refusals because the machine is too busy, by code. Such a request is sent again. */
  late: Readonly<Record<'overloaded' | 'limits_unavailable', number>>
}>

/** Sends a request on to the next replica after a 503 or a refused connection, after a broken one only if the request
 *  may be repeated. */
function createGateway (services: () => readonly Service[], own: (close: () => unknown) => void): Gateway {
  const pools = new Map<string, Pool>()
  const failures: string[] = []
  const late = { overloaded: 0, limits_unavailable: 0 }
  let [turn, sent] = [0, 0]
  own(() => Promise.all([...pools.values()].map((pool) => pool.destroy())))

  function poolAt (url: string): Pool {
    const pool = pools.get(url) ?? new Pool(url, { connections: 32, pipelining: 1 })
    pools.set(url, pool)
    return pool
  }

  async function askAt (url: string, { method = 'GET', path, token, body }: CallRequest): Promise<Reply> {
    const answer = await poolAt(url).request({
      method,
      path,
      headers: {
        authorization: `Bearer ${token}`, ...body === undefined ? {} : { 'content-type': 'application/sdp' }
      },
      ...body === undefined ? {} : { body }
    })
    const text = await answer.body.text()
    return {
      status: answer.statusCode,
      body: text.startsWith('{') ? JSON.parse(text) : {},
      location: String(answer.headers.location ?? '')
    }
  }

  async function ask (request: CallRequest): Promise<Reply> {
    const all = services()
    const at = turn++
    sent++
    let last = 'no replica'
    for (let i = 0; i < TRIES; i++) {
      try {
        const reply = await askAt((all[(at + i) % all.length] as Service).url, request)
        const code: unknown = reply.body.error?.code
        if (code === 'draining') continue
        if (code === 'overloaded' || code === 'limits_unavailable') {
          late[code]++
          await wait(LATE_MS)
          continue
        }
        if (reply.status >= 300) failures.push(`${request.method ?? 'GET'} ${reply.status} ${reply.body.error?.code}`)
        return reply
      } catch (error) {
        const { code = '' } = error as NodeJS.ErrnoException
        last = code
        if (code !== 'ECONNREFUSED' && request.method === 'POST' && request.body !== undefined) break
      }
    }
    failures.push(`${request.method ?? 'GET'} ${last}`)
    return { status: 0, body: {}, location: '' }
  }

  return { ask, sent: () => sent, late, failures }
}

type Watched = { opened: number, closedAt: number | null, isOpen: boolean, sent: { atMs: number, isOpen: boolean }[] }

/** Records when each call has a sideband, and sends responses on it. */
function watch (upstream: CallsUpstream, closes: () => boolean) {
  const calls = new Map<string, Watched>()
  const gaps: number[] = []
  const takenAt: number[] = []
  const closings = new Map<string, number[]>()
  upstream.onAttach((attach) => {
    if (attach.call?.isLive() !== true) return notFound(attach)
    const socket = attach.accept()
    const seen = calls.get(attach.callId) ?? { opened: 0, closedAt: null, isOpen: false, sent: [] }
    calls.set(attach.callId, seen)
    const nowMs = performance.now()
    if (seen.opened++ > 0) {
      takenAt.push(nowMs)
      gaps.push(seen.closedAt === null ? 0 : nowMs - seen.closedAt)
    }
    seen.isOpen = true
    const serial = seen.opened
    socket.on('close', () => {
      closings.set(attach.callId, [...closings.get(attach.callId) ?? [], performance.now()])
      if (seen.opened !== serial) return
      seen.closedAt = performance.now()
      seen.isOpen = false
    })
  })
  const respond = () => {
    for (const call of upstream.calls) {
      const seen = calls.get(call.id)
      if (seen === undefined || !call.isLive() || !closes()) continue
      const id = `resp_${seen.sent.length + 1}`
      seen.sent.push({ atMs: performance.now(), isOpen: seen.isOpen })
      call.push(responseCreated(id), responseDone(id, usageOf({ inputText: RESPONSE_TOKENS })))
    }
  }
  /** How many responses the receipt of a call must count, and how many it may count. */
  const countable = (id: string) => {
    const { sent } = calls.get(id) as Watched
    const closed = closings.get(id) ?? []
    const shown = sent.filter(({ isOpen }) => isOpen)
    const isSure = (atMs: number) => !closed.some((closedMs) => closedMs >= atMs && closedMs - atMs < UNREAD_MS)
    return { sure: shown.filter(({ atMs }) => isSure(atMs)).length, most: shown.length, sent: sent.length }
  }
  return { calls, gaps, takenAt, respond, countable }
}

type Watch = ReturnType<typeof watch>
type Own = Readonly<{ path: string, token: string, endsAt: number }>

export async function drainCalls ({ live, replicas, isOne, report }: CallsDrain): Promise<readonly string[]> {
  const script = createScript()
  try {
    const world = await startCallReplicas(script, {
      count: replicas, policy: policyOf({ calls: '{ max_seconds: 600 }' }), env: { DRAIN_SECONDS: '5' }
    })
    let services = [...world.replicas]
    const state = { isOver: false, isQuiet: false }
    const watched = watch(world.upstream, () => !state.isQuiet)
    const gateway = createGateway(() => isOne ? services.slice(0, 1) : services, script.teardown)
    const calls = await beginAll(gateway, live)
    const before = gateway.sent()
    const talking = setInterval(watched.respond, isOne ? 5000 : 500)
    script.teardown(() => clearInterval(talking))
    const problems: string[] = []

    if (isOne) {
      await stopOne(world, watched, services, live, report)
      services = services.slice(1)
    } else {
      const client = useCalls(gateway, calls, state, problems)
      const exits: string[] = []
      for (const service of world.replicas.slice()) {
        service.kill('SIGTERM')
        const { code, afterMs } = await service.exited
        if (code !== 0) problems.push(`exit code ${code}`)
        if (afterMs > EXIT_WITHIN_MS) problems.push(`exit after ${afterMs} ms`)
        exits.push((afterMs / 1000).toFixed(1))
        // Requests go to this place again once the new replica is ready.
        services = services.filter((one) => one !== service)
        services = [...services, await world.start({}, { port: service.port })]
      }
      state.isOver = true
      const begun = await client
      report(`calls live ${live}, begun during the restart ${begun}; replicas stopped after ${exits.join(', ')} s`)
      report(`requests ${gateway.sent() - before}, failed ${gateway.failures.length}; sent again after 503: ` +
        Object.entries(gateway.late).map(([code, count]) => `${count} ${code}`).join(', '))
      const isLate = world.replicas.some(({ log }) => log.some(({ reason }) => reason === 'redis_timeout'))
      if (gateway.late.limits_unavailable > 0 && !isLate) problems.push('limits_unavailable, and Redis was in time')
    }

    state.isQuiet = true
    // Until the last events have been read.
    await wait(UNREAD_MS)
    const early = world.upstream.calls.filter((call) => !call.isLive()).map(({ id }) => id)
    const wished = isOne ? 0 : world.lines('call.ended').filter(({ reason }) => reason === 'client').length
    report(`hung up ${early.length - wished}`)
    if (early.length > wished) problems.push(`${early.length - wished} calls were hung up`)
    const last = createGateway(() => services, script.teardown)
    await inTurn(calls, ({ path, token }) => last.ask({ method: 'POST', path: `${path}/hangup`, token }))
    problems.push(...gateway.failures, ...last.failures)
    await world.wrote('call.ended', world.upstream.calls.length).catch(({ message }) => problems.push(message))
    describe(watched, report)
    problems.push(...checkBooks(world, watched, report))
    return problems
  } finally {
    await script.end()
  }
}

async function inTurn<T> (all: readonly T[], act: (one: T) => Promise<unknown>): Promise<void> {
  const queue = [...all]
  await Promise.all(Array.from({ length: BEGINNERS }, async () => {
    for (let one = queue.shift(); one !== undefined; one = queue.shift()) await act(one)
  }))
}

async function begin (gateway: Gateway, sub: string): Promise<Own | null> {
  const token = await tokenOf({ sub, exp: Math.floor(Date.now() / 1000) + 900 })
  const { status, location: path } = await gateway.ask({ method: 'POST', path: CALLS, token, body: OFFER })
  if (status !== 201) return null
  const { body } = await gateway.ask({ path, token })
  return { path, token, endsAt: body.ends_at }
}

async function beginAll (gateway: Gateway, count: number): Promise<readonly Own[]> {
  const begun: Own[] = []
  await inTurn(Array.from({ length: count }, (_, i) => `user-${i}`), async (sub) => {
    const own = await begin(gateway, sub)
    if (own !== null) begun.push(own)
  })
  if (begun.length < count) throw new Error(`${begun.length} of ${count} calls: ${gateway.failures.join(', ')}`)
  return begun
}

/** Reads each call again and again, and begins others that it ends soon. Resolves to how many it began. */
async function useCalls (
  gateway: Gateway, calls: readonly Own[], state: Readonly<{ isOver: boolean }>, problems: string[]
): Promise<number> {
  const short: Promise<unknown>[] = []
  let begun = 0
  async function look ({ path, token, endsAt }: Own): Promise<void> {
    const { status, body } = await gateway.ask({ path, token })
    if (status !== 200) return
    if (body.status !== 'live') problems.push(`a caller sees ${body.status}, ${body.end_reason}`)
    if (Math.abs(body.ends_at - endsAt) > 1) problems.push(`ends_at moved by ${body.ends_at - endsAt} s`)
  }
  async function callShortly (sub: string): Promise<void> {
    const own = await begin(gateway, sub)
    if (own === null) return
    begun++
    await wait(SHORT_CALL_MS)
    await look(own)
    const { body } = await gateway.ask({ method: 'POST', path: `${own.path}/hangup`, token: own.token })
    if (body.status !== 'ended' || body.end_reason !== 'client') {
      problems.push(`a call that its caller ended is ${body.status}, ${body.end_reason}`)
    }
  }
  const looking = Array.from({ length: BEGINNERS }, async (_, k) => {
    while (!state.isOver) {
      for (const own of calls.filter((_own, i) => i % BEGINNERS === k)) await look(own)
      await wait(200)
    }
  })
  for (let i = 0; !state.isOver; i++) {
    short.push(callShortly(`short-${i}`))
    await wait(BEGIN_EVERY_MS)
  }
  await Promise.all([...looking, ...short])
  return begun
}

async function stopOne (
  { upstream }: CallReplicas, { takenAt }: Watch, [first]: readonly Service[], live: number,
  report: (line: string) => void
): Promise<void> {
  const stopped = first as Service
  stopped.kill('SIGTERM')
  const fromMs = performance.now()
  const { afterMs } = await stopped.exited
  const lastMs = (takenAt.at(-1) ?? fromMs) - fromMs
  const perSecond = Array.from({ length: Math.ceil(lastMs / 1000) }, (_, i) =>
    takenAt.filter((atMs) => Math.floor((atMs - fromMs) / 1000) === i).length)
  report(`${takenAt.length} of ${live} were taken over in ${(lastMs / 1000).toFixed(1)} s: ` +
    `${perSecond.join(', ')} in each second`)
  report(`hang-ups ${upstream.hangUps.length}; stopped after ${(afterMs / 1000).toFixed(1)} s`)
}

function describe ({ gaps }: Watch, report: (line: string) => void): void {
  const sorted = gaps.toSorted((a, b) => a - b)
  const [median = 0, most = 0] = [sorted[sorted.length >> 1], sorted.at(-1)].map((ms) => Math.round(ms ?? 0))
  report(`taken over ${gaps.length} times; without a sideband for ${median} ms (median), ${most} ms (most)`)
}

function checkBooks (
  { upstream, lines, replicas }: CallReplicas, watched: Watch, report: (line: string) => void
): string[] {
  const problems: string[] = []
  const at = (event: string, id: string) => replicas.findIndex(({ audit }) =>
    audit.some((line) => line.event === event && line.upstream_call_id === id))
  const ended = Map.groupBy(lines('call.ended'), (line) => String(line.upstream_call_id))
  const counts = { complete: 0, incomplete: 0, sent: 0, counted: 0 }
  for (const { id } of upstream.calls) {
    const [line, ...more] = ended.get(id) ?? []
    if (line === undefined || more.length > 0) {
      problems.push(`${id} has ${more.length + (line === undefined ? 0 : 1)} lines`)
      continue
    }
    const wasTaken = at('call.ended', id) !== at('call.started', id)
    counts[line.complete === true ? 'complete' : 'incomplete']++
    if (line.reason !== 'client' || line.started !== true) problems.push(`${id} ended: ${line.reason}`)
    if (line.complete === wasTaken) problems.push(`${id} was taken over: ${wasTaken}; complete: ${line.complete}`)
    const { responses, input_tokens: tokens } = line.usage as JsonObject & { responses: number }
    const { sure, most, sent } = watched.countable(id)
    counts.sent += sent
    counts.counted += responses
    if (responses < sure || responses > most) problems.push(`${id}: ${responses} responses of ${sure} to ${most}`)
    if (tokens !== responses * RESPONSE_TOKENS) problems.push(`${id}: ${tokens} tokens of ${responses} responses`)
  }
  const started = new Set(lines('call.started').map((line) => String(line.upstream_call_id)))
  if (started.size !== upstream.calls.length) problems.push(`${started.size} starts of ${upstream.calls.length} calls`)
  report(`receipts: ${counts.complete} complete, ${counts.incomplete} not; responses ${counts.sent}, counted ` +
    `${counts.counted}, the others while a call had no sideband`)
  return problems
}
