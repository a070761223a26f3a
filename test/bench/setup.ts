// How long a call takes to be set up, from the offer to the answer: the same upstream is asked directly and through
// Ephemint, one call after the other, in turn.

import { OFFER } from '../support/sdp.ts'
import { ephemint, policyFile } from './contenders.ts'
import { startIdentity } from './identity.ts'
import { bar, median, type Report } from './report.ts'
import { type Begin, freePort } from './running.ts'

const USERS = 50
const WARM_UP_CALLS = 300
const MAX_ADDED_MS = 5

export async function measureSetup (folder: string, begin: Begin, quick: boolean): Promise<Report> {
  const identity = await startIdentity()
  const { url: upstream } = await (await begin('./calls-upstream.ts', {})).ask<{ url: string }>({})
  const port = await freePort()
  const service = `http://127.0.0.1:${port}/v1`
  const policy = policyFile(folder, 'calls', identity, { calls: {} })
  const { file, env, args } = ephemint('calls', folder, policy, upstream.replace(/\/v1$/, ''), '')
  await begin(file, { ...env, PORT: String(port) }, args)
  const tokens = await Promise.all(Array.from({ length: USERS }, (_, i) => identity.token(`user-${i}`)))
  const count = quick ? 100 : 1000

  /** Milliseconds. The call is hung up afterwards, which is not counted. */
  async function call (base: string, key: string, body: string | FormData): Promise<number> {
    const authorization = `Bearer ${key}`
    const headers = typeof body === 'string' ? { authorization, 'content-type': 'application/sdp' } : { authorization }
    const startedAt = performance.now()
    const response = await fetch(`${base}/realtime/calls`, { method: 'POST', headers, body })
    const answer = await response.text()
    const tookMs = performance.now() - startedAt
    if (response.status !== 201) throw new Error(`answered ${response.status}: ${answer}`)
    const id = response.headers.get('location')?.split('/').at(-1)
    await (await fetch(`${base}/realtime/calls/${id}/hangup`, { method: 'POST', headers: { authorization } })).text()
    return tookMs
  }

  const form = new FormData()
  form.set('sdp', OFFER)
  form.set('session', JSON.stringify({ type: 'realtime', model: 'gpt-realtime-2.1', instructions: 'You are Ada.' }))
  const [direct, through]: [number[], number[]] = [[], []]
  for (let i = -WARM_UP_CALLS; i < count; i++) {
    const token = tokens[(i + WARM_UP_CALLS) % USERS] as string
    const [directMs, throughMs] = [await call(upstream, 'sk-bench', form), await call(service, token, OFFER)]
    if (i < 0) continue
    direct.push(directMs)
    through.push(throughMs)
  }
  identity.close()
  const added = median(through) - median(direct)
  return {
    title: `${count} calls, one after the other, Node.js ${process.version}: milliseconds from the offer to the answer`,
    rows: [
      ['', 'p50', 'least'],
      ...([['upstream itself', direct], ['ephemint', through]] as const).map(
        ([name, times]) => [name, median(times).toFixed(2), Math.min(...times).toFixed(2)]
      )
    ],
    notes: ['Ephemint also opens a sideband and waits for its first answer; the direct call has none.'],
    bars: [bar('added to the setup of a call at the median, ms', added, MAX_ADDED_MS * (quick ? 2 : 1))]
  }
}
