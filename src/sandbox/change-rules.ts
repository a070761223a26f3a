// The rule of a policy for changes in a call, for the page to show. Clients do not get it from Ephemint: the policy is
// in the audit line of the call's start, the rule in the policy file.

import { readFile } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { parse } from 'yaml'
import { getIn, isObject, type JsonObject } from '../json.ts'

export type ChangeRule = Readonly<{ policy: string, on_change: string }>

export type ChangeRules = Readonly<{
  /** Takes a parsed line of Ephemint's output. */
  put: (entry: JsonObject) => void
  /** Waits for the line of the call's start. Null if none comes, or if the policy file cannot be read. */
  of: (callId: string) => Promise<ChangeRule | null>
}>

const MAX_CALLS = 50
const WAIT_MS = 2000

export function createChangeRules (policyFile: () => string): ChangeRules {
  const rules = new LRUCache<string, PromiseWithResolvers<ChangeRule | null>>({ max: MAX_CALLS })

  function find (callId: string): PromiseWithResolvers<ChangeRule | null> {
    const found = rules.get(callId) ?? Promise.withResolvers<ChangeRule | null>()
    rules.set(callId, found)
    return found
  }

  return {
    put: ({ event, call_id: callId, policy }) => {
      if (event === 'call.started') find(String(callId)).resolve(readRule(policyFile(), String(policy)))
    },
    of: (callId) => Promise.race([find(callId).promise, wait(WAIT_MS, null, { ref: false })])
  }
}

async function readRule (path: string, name: string): Promise<ChangeRule | null> {
  try {
    const { policies } = parse(await readFile(path, 'utf8'))
    const policy = policies.filter(isObject).find((one: JsonObject) => one.name === name)
    return { policy: name, on_change: String(getIn(policy, ['realtime', 'calls', 'on_change']) ?? 'restore') }
  } catch {
    // The file is being edited.
    return null
  }
}
