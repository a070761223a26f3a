// Items of a conversation: who made them, and to which tool they belong.

import { isObject, type Json, type JsonObject } from '../json.ts'

export type Tool = Readonly<{ is: 'function' | 'mcp', name: string | null }>

export type Item = Readonly<{
  id: string | null
  type: string | null
  role: string | null
  /** The id of a function call, also in its output. */
  callId: string | null
  /** The function that is called, or the MCP server. */
  tool: Tool | null
}>

/** Cap for ids, which upstream chooses and a call keeps. */
const MAX_LENGTH = 256
const OF_SERVERS: ReadonlySet<Json | undefined> = new Set(['mcp_call', 'mcp_list_tools', 'mcp_approval_request'])

export function readItem (item: Json | undefined): Item {
  const { id, type, role, name, call_id: callId, server_label: server } = isObject(item) ? item : {}
  const isMcp = OF_SERVERS.has(type)
  const isCall = type === 'function_call'
  return {
    id: text(id),
    type: text(type),
    role: text(role),
    callId: text(callId),
    tool: isMcp ? { is: 'mcp', name: text(server) } : isCall ? { is: 'function', name: text(name) } : null
  }
}

/** Without a name: any tool of its kind. Also true if a stored prompt may have brought the tool. */
export function hasTool ({ tools, prompt = null }: JsonObject, { is, name }: Tool): boolean {
  if (prompt !== null) return true
  return Array.isArray(tools) && tools.filter(isObject).some((tool) => is === 'mcp'
    ? tool.type === 'mcp' && (name === null || tool.server_label === name)
    : tool.type !== 'mcp' && (name === null || tool.name === name))
}

function text (value: Json | undefined): string | null {
  return typeof value === 'string' && value.length <= MAX_LENGTH ? value : null
}
