// Two replicas as processes, Redis that keeps its data, and the upstream; a proxy with faults on each way between them.
// The upstream's own books: what it created, what it sent, when each call was over.

import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { responseCreated, responseDone, speechStarted, speechStopped, usageOf } from '../../support/call-events.ts'
import { confirm, open } from '../../support/call-replies.ts'
import type { CallsUpstream, CreateReply } from '../../support/calls-upstream.ts'
import { type FaultProxy, type Owner, startFaultProxy } from '../../support/fault-proxy.ts'
import { freePort, makeFolder } from '../../support/processes.ts'
import type { RedisServer } from '../../support/redis.ts'
import type { Service } from '../../support/service.ts'
import { until } from '../../support/until.ts'
import { failure } from '../../support/upstream.ts'
import type { Call } from '../../support/upstream-call.ts'
import { type CallReplicas, startCallReplicas } from '../call-replicas.ts'
import { indexIn, type Plan, SOAK_POLICY } from './plan.ts'
import type { Random } from './random.ts'

export type Totals = { responses: number, input: number, output: number }
/** A call as its upstream knows it. */
export type Seen = {
  readonly plan: Plan
  readonly call: Call
  readonly bornMs: number
  overMs: number | null
  readonly sent: Totals
  readonly hangUps: { atMs: number, wasLive: boolean }[]
}

/** One of the two places of a replica: a replica that restarts there has the same port and audit file. */
export type Slot = {
  readonly name: string
  readonly auditFile: string
  /** The proxy between this replica and Redis. */
  readonly proxy: FaultProxy
  service: Service
  /** Whether clients are sent there. */
  isUp: boolean
  restarts: number
}

export type SoakWorld = Readonly<{
  slots: readonly [Slot, Slot]
  redis: RedisServer
  upstream: CallsUpstream
  upstreamProxy: FaultProxy
  replicas: Pick<CallReplicas, 'operate' | 'replicas'>
  /** The calls by their ids at upstream. */
  seen: ReadonlyMap<string, Seen>
  seenOf: (plan: Plan) => Seen | undefined
  plans: Plan[]
  /** Overrides what the plans say of upstream; null ends that. */
  behave: (behaviour: Behaviour | null) => void
  /** Lets the user speak and be answered for a while. */
  speak: (seen: Seen) => Promise<void>
  /** Ends a call at upstream. */
  end: (seen: Seen) => void
  restart: (slot: Slot, signal: 'SIGKILL' | 'SIGTERM') => Promise<void>
  ready: () => Promise<void>
  anyUp: () => Slot
  /** Whether replicas go on without Redis. */
  isLocal: boolean
}>
export type Behaviour = Readonly<{ create?: () => CreateReply, refusesHangUps?: boolean }>

const READY_MS = 60_000

export async function startSoakWorld (owner: Owner, random: Random, isLocal: boolean): Promise<SoakWorld> {
  const world = await startCallReplicas(owner, {
    count: 0, policy: SOAK_POLICY, redisOptions: ['--appendonly', 'yes', '--appendfsync', 'always']
  })
  const { redis, upstream } = world
  const upstreamProxy = await startFaultProxy(owner, { host: '127.0.0.1', port: Number(new URL(upstream.url).port) })
  const folder = makeFolder(owner)
  const seen = new Map<string, Seen>()
  const created = new Map<Plan, Seen>()
  const plans: Plan[] = []
  let behaviour: Behaviour = {}

  upstream.onCreate(async (request, response) => {
    const plan = plans[indexIn(request.parts.sdp?.text)] as Plan
    await wait(plan.latencyMs)
    const before = upstream.calls.length
    const reply = behaviour.create?.() ?? plan.reply
    reply(request, response)
    const call = upstream.calls[before]
    if (call !== undefined) see(plan, call)
  })
  upstream.onAttach(open)
  upstream.onHangUp((request, response) => {
    const known = seen.get(request.callId)
    known?.hangUps.push({ atMs: performance.now(), wasLive: known.call.isLive() })
    if (behaviour.refusesHangUps === true) return failure(500)(request, response)
    if (known !== undefined) known.overMs ??= performance.now()
    confirm(request, response)
  })

  function see (plan: Plan, call: Call): void {
    const sent = { responses: 0, input: 0, output: 0 }
    const one = { plan, call, bornMs: performance.now(), overMs: null, sent, hangUps: [] }
    seen.set(call.id, one)
    created.set(plan, one)
    call.on('response.cancel', ({ response_id: id }) => finish(call, String(id)))
  }

  const unfinished = new Set<string>()

  /** Completes a response, whose cost is counted once. */
  function finish (call: Call, id: string): void {
    if (!unfinished.delete(id) || !call.isLive()) return
    const tokens = { inputText: random.between(1, 99), outputText: random.between(1, 99), outputAudio: 50 }
    const { sent } = seen.get(call.id) as Seen
    sent.responses++
    sent.input += tokens.inputText
    sent.output += tokens.outputText + tokens.outputAudio
    call.push(responseDone(id, usageOf(tokens)))
  }

  async function speak ({ call }: Seen): Promise<void> {
    const id = `resp_${call.id}_${performance.now()}`
    call.push(speechStarted(id), speechStopped(id), responseCreated(id))
    unfinished.add(id)
    await wait(random.between(200, 1500))
    finish(call, id)
  }

  function end (one: Seen): void {
    if (!one.call.isLive()) return
    one.overMs = performance.now()
    one.call.end(1000)
  }

  const launch = (slot: Omit<Slot, 'service'>, port: number) => world.start({
    REDIS_URL: `redis://${slot.proxy.host}`,
    ON_REDIS_LOSS: isLocal ? 'local' : 'deny',
    AUDIT_FILE: slot.auditFile,
    UPSTREAM_TIMEOUT_MS: '3000',
    DRAIN_SECONDS: '2',
    // The settings of the image.
    MALLOC_ARENA_MAX: '1'
  }, {
    upstreamUrl: `http://${upstreamProxy.host}/v1`,
    port,
    // Memory as `npm start` bounds it.
    args: [
      '--max-semi-space-size=16', '--max-old-space-size=384', '--expose-gc', '--import',
      pathToFileURL(join(import.meta.dirname, '../../support/memory-probe.ts')).href
    ],
    spawning: { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] }
  })

  async function startSlot (name: string): Promise<Slot> {
    const proxy = await startFaultProxy(owner, { host: '127.0.0.1', port: redis.port })
    const slot = { name, auditFile: join(folder, `${name}.log`), proxy, isUp: true, restarts: 0 }
    return Object.assign(slot, { service: await launch(slot, await freePort()) })
  }

  const slots = [await startSlot('one'), await startSlot('two')] as const
  return {
    slots: [...slots],
    redis,
    upstream,
    upstreamProxy,
    replicas: world,
    seen,
    seenOf: (plan) => created.get(plan),
    plans,
    behave: (next) => { behaviour = next ?? {} },
    speak,
    end,
    restart: async (slot, signal) => {
      slot.isUp = false
      slot.service.kill(signal)
      await slot.service.exited
      slot.service = await launch(slot, slot.service.port)
      slot.restarts++
      slot.isUp = true
    },
    ready: async () => {
      for (const { service } of slots) {
        const ask = () => service.ask('/readyz', { signal: AbortSignal.timeout(1000) })
        const look = () => ask().then(({ status }) => status === 200, () => false)
        await until('both replicas to be ready', look, READY_MS)
      }
    },
    isLocal,
    anyUp: () => random.of(slots.filter(({ isUp }) => isUp))
  }
}

export async function memoryOf ({ child }: Service): Promise<{ heapUsed: number, rss: number }> {
  child.send('memory')
  const [memory] = await once(child, 'message')
  return memory
}
