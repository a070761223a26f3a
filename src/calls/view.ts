// A call as its caller and its operator see it, whichever replica has it.

import type { Usage } from './usage.ts'

export type CallView = Readonly<{
  id: string
  object: 'realtime.call'
  status: 'live' | 'ending' | 'ended'
  created_at: number
  ends_at: number
  end_reason: string | null
  seconds: number
  usage: Usage
}>
