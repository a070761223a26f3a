// The minimum of a call's events: bare ws clients that count them.

import { Agent } from 'node:https'
import { WebSocket } from 'ws'

const agent = process.env.UPSTREAM?.startsWith('https') ? new Agent() : undefined
const base = (process.env.UPSTREAM as string).replace(/^http/, 'ws')
let opened = 0
let events = 0

function open (): Promise<void> {
  const socket = new WebSocket(`${base}/realtime?call_id=floor_${opened++}`, { agent, perMessageDeflate: false })
  socket.on('message', () => { events++ })
  return new Promise((resolve, reject) => { socket.on('open', resolve).on('error', reject) })
}

process.on('message', async (order: { open: number } | string) => {
  if (typeof order === 'string') return
  for (let i = 0; i < order.open; i++) await open()
  process.send?.({ events })
})
process.send?.('listening')
