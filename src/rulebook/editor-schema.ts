// The policy file's schema as editors take it: the one that the file is read by, with the names of session parameters for
// them to complete. It refuses nothing that the other one takes.

import { type JsonObject, merge, type Path } from '../json.ts'
import { PolicyFile } from '../policy/schema.ts'
import { type Kind, KINDS, sessionSchemas } from '../realtime/session.ts'

type Node = Readonly<{ properties?: Record<string, Node>, anyOf?: Node[] }>

export function editorSchema (): JsonObject {
  const file: JsonObject = JSON.parse(JSON.stringify(PolicyFile))
  const policies = {
    items: { properties: Object.fromEntries(KINDS.map((kind) => [kind, { properties: hints(kind) }])) }
  }
  return merge({
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Policy file of Ephemint',
    description: 'Who may call, and what they get. Made by npm run schema.'
  }, merge(file, { properties: { policies } }))
}

function hints (kind: Kind): JsonObject {
  const session = sessionSchemas[kind] as Node
  const names = pathsOf(session).map((path) => path.join('.'))
  // An editor completes what it finds in one branch; the other takes what our types do not know.
  const items = { anyOf: [{ enum: names }, { type: 'string' }] }
  return {
    fixed: { properties: membersOf(session) },
    defaults: { properties: membersOf(session) },
    allow: { properties: Object.fromEntries(names.map((name) => [name, {}])) },
    ignore: { items },
    hide: { items }
  }
}

/** Names alone: a value may as well be a template or a secret. */
function membersOf (node: Node): JsonObject {
  return Object.fromEntries(entriesOf(node).map(
    ([name, inner]) => [name, entriesOf(inner).length === 0 ? {} : { properties: membersOf(inner) }]
  ))
}

function pathsOf (node: Node): Path[] {
  return entriesOf(node).flatMap(([name, inner]) => [[name], ...pathsOf(inner).map((path) => [name, ...path])])
}

/** Of a union those of all its variants. */
function entriesOf ({ properties = {}, anyOf = [] }: Node): [string, Node][] {
  return Object.entries(
    Object.assign({}, properties, ...anyOf.map((variant) => Object.fromEntries(entriesOf(variant))))
  )
}
