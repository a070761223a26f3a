// Clients that keep so many calls alive at a time: new ones begin as old ones end.

import { setTimeout as wait } from 'node:timers/promises'
import { tokenOf } from '../../support/service.ts'
import {
  CALLERS_COUNT, type End, MAX_SECONDS, offerOf, type Plan, planOf, policyNameOf, SECONDS_A_DAY, SERVED, subjectOf
} from './plan.ts'
import type { Random } from './random.ts'
import type { Seen, SoakWorld } from './world.ts'

export type AnsweredCall = Readonly<{
  plan: Plan, status: number | null, code: string | null, id: string | null, requestId: string
}>

export type CallsLoad = Readonly<{
  answers: readonly AnsweredCall[]
  /** The seconds that the limits have counted, by caller. */
  secondsTaken: () => Promise<readonly number[]>
  /** How often a caller found its own call unknown. */
  lost: () => number
  /** Stops beginning calls; resolves once no client waits for anything. */
  pause: () => Promise<void>
  resume: () => void
  /** Begins a call of this caller now. */
  begin: (caller: number) => Promise<AnsweredCall>
  hangUp: (answered: AnsweredCall) => Promise<void>
}>

const MAX_CREATING = 24
const TICK_MS = 25
const LOOK_MS = 200
/** Browsers give up after this time. */
const PATIENCE_MS = 30_000
const HANG_UP_MS = 8000
const AGAIN_MS = 1000
/** Enough tries for a kill and the pauses of hang-ups. */
const MOST_TRIES = 90
const SET_ASIDE_MS = 5000
const SOON_MS = 300

export async function startCallsLoad (world: SoakWorld, random: Random, alive: number): Promise<CallsLoad> {
  const { plans, seenOf, anyUp, speak, end, replicas, isLocal } = world
  const exp = Math.floor(Date.now() / 1000) + 7200
  const tokens = await Promise.all(Array.from({ length: CALLERS_COUNT }, (_, caller) =>
    tokenOf({ sub: subjectOf(caller), exp, plan: policyNameOf(caller) })))
  const free = Array.from({ length: CALLERS_COUNT }, (_, caller) => caller)
  const answers: AnsweredCall[] = []
  const underWay = new Set<Promise<void>>()
  let lost = 0
  const state = { isRunning: false, creating: 0 }

  async function ask (path: string, caller: number, init: RequestInit = {}): Promise<Response> {
    const authorization = `Bearer ${tokens[caller]}`
    return fetch(anyUp().service.url + path, {
      method: 'POST', ...init, headers: { authorization, ...init.headers }
    })
  }

  async function create (plan: Plan): Promise<AnsweredCall> {
    plans[plan.index] = plan
    state.creating++
    const signals = [PATIENCE_MS, plan.goneAfterMs].flatMap((ms) => ms === null ? [] : [AbortSignal.timeout(ms)])
    const none = { plan, status: null, code: null, id: null, requestId: '' }
    const answered = await ask('/v1/realtime/calls', plan.caller, {
      headers: { 'content-type': 'application/sdp' }, body: offerOf(plan.index), signal: AbortSignal.any(signals)
    }).then(async (response): Promise<AnsweredCall> => {
      const text = await response.text()
      return {
        plan,
        status: response.status,
        code: response.status === 201 ? null : JSON.parse(text).error.code,
        id: response.headers.get('location')?.split('/').at(-1) ?? null,
        requestId: response.headers.get('x-request-id') ?? ''
      }
    }).catch(() => none)
    state.creating--
    answers.push(answered)
    return answered
  }

  const isLive = (one: Seen | undefined) => one?.call.isLive() === true

  async function hangUp ({ plan: { caller }, id }: AnsweredCall): Promise<void> {
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const answer = await ask(`/v1/realtime/calls/${id}/hangup`, caller, { signal: AbortSignal.timeout(HANG_UP_MS) })
        .then(async (response) => ({ status: response.status, body: await response.json() as { status?: string } }))
        .catch(() => null)
      // Without Redis a call is known to its own replica alone.
      const isLost = answer?.status === 404 && !isLocal
      if (isLost) lost++
      if (isLost || answer?.body.status === 'ended') return
      await wait(AGAIN_MS)
    }
  }

  const endings: Readonly<Record<End, (answered: AnsweredCall, one: Seen) => Promise<unknown>>> = {
    client: hangUp,
    operator: async ({ id }, one) => {
      for (let tries = 0; isLive(one) && tries < MOST_TRIES; tries++) {
        await replicas.operate(anyUp().service, `/calls/${id}/hangup`, {}).catch(() => {})
        if (isLive(one)) await wait(AGAIN_MS)
      }
    },
    upstream: async (_answered, one) => end(one),
    replaced: async (answered, one) => {
      const next = planOf(random, plans.length, answered.plan.caller)
      await live({ ...next, goneAfterMs: null })
      if (isLive(one)) await hangUp(answered)
    },
    timer: async () => {}
  }

  async function live (plan: Plan): Promise<void> {
    const answered = await create(plan)
    const one = seenOf(plan)
    if (answered.status !== 201 || one === undefined) {
      await wait(answered.status === 409 ? SET_ASIDE_MS : SOON_MS)
      return
    }
    const endsAtMs = performance.now() + plan.lifeMs
    while (isLive(one) && state.isRunning && performance.now() < endsAtMs) {
      await speak(one)
      await wait(random.between(500, 3000))
    }
    if (state.isRunning) await endings[plan.end](answered, one)
    // The operator ends the remaining calls at each rest.
    const latestMs = endsAtMs + 2000 * MAX_SECONDS[policyNameOf(plan.caller)]
    while (state.isRunning && isLive(one) && performance.now() < latestMs) await wait(LOOK_MS)
  }

  function track (calling: Promise<void>): void {
    underWay.add(calling)
    calling.finally(() => underWay.delete(calling))
  }

  async function keepAlive (): Promise<void> {
    while (state.isRunning) {
      while (free.length > 0 && underWay.size < alive && state.creating < MAX_CREATING) {
        const caller = free.shift() as number
        const plan = planOf(random, plans.length, caller)
        track(live(plan).finally(() => free.push(caller)))
      }
      await wait(TICK_MS)
    }
  }

  async function takenBy (caller: number): Promise<number> {
    const response = await ask('/v1/realtime/policy', caller, { method: 'GET' })
    const { limits } = await response.json() as { limits?: { call_seconds: { day: { remaining: number } } } }
    if (limits !== undefined) return SECONDS_A_DAY - limits.call_seconds.day.remaining
    await wait(AGAIN_MS)
    return takenBy(caller)
  }

  return {
    answers,
    secondsTaken: async () => {
      const taken: number[] = []
      for (let caller = 0; caller < CALLERS_COUNT; caller++) taken.push(await takenBy(caller))
      return taken
    },
    lost: () => lost,
    pause: async () => {
      state.isRunning = false
      await Promise.all(underWay)
    },
    resume: () => {
      state.isRunning = true
      keepAlive()
    },
    begin: async (caller) => create({ ...planOf(random, plans.length, caller), ...SERVED }),
    hangUp
  }
}
