// The API reference as one HTML page without scripts or external resources. A library's page would put megabytes of
// script on a listener of a service that holds an API key, to show some schemas.

import { hash } from 'node:crypto'
import { type Json, variantsOf } from '../json.ts'
import type { Content, Document, OperationObject, Response, Schema } from './document.ts'
import type { Examples } from './examples.ts'
import { CSS } from './style.ts'

export const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-cache',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'content-security-policy': [
    "default-src 'none'",
    `style-src 'sha256-${hash('sha256', CSS, 'base64')}'`,
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'"
  ].join('; ')
}

type RouteEntry = Readonly<{ path: string, method: string, operation: OperationObject }>

export function renderPage ({ openapi, info, tags, paths, components }: Document): string {
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): RouteEntry => ({ path, method, operation })))
  const tagged = (name: string) => operations.filter(({ operation }) => operation.tags[0] === name)
  const schemas = Object.entries(components.schemas)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(info.title)} API</title>
<link rel="icon" href="data:,">
<style>${CSS}</style>
</head>
<body>
<nav aria-label="Contents">
<p class="name"><a href="#top">${escape(info.title)}</a> <span>${escape(info.version)}</span></p>
${tags.map(({ name }) => `<p>${escape(name)}</p>${bulletList(tagged(name).map(linkTo))}`).join('\n')}
<p>More</p><ul><li><a href="#credentials">Credentials</a></li><li><a href="#headers">Headers</a></li></ul>
<p>Schemas</p>${bulletList(schemas.map(([name]) => `<a href="#schema-${name}">${name}</a>`))}
</nav>
<main id="top">
<h1>${escape(info.title)}</h1>
<p class="lead">${escape(info.summary)}.</p>
${paragraphs(info.description)}
<p><a href="openapi.json">openapi.json</a> has the same for tools (OpenAPI ${escape(openapi)}).</p>
${operations.map((operation) => renderOperation(operation, components)).join('\n')}
<section id="credentials"><h2>Credentials</h2>
<dl>${Object.entries(components.securitySchemes).map(renderCredential).join('')}
<dt>none</dt><dd>If a caller entry is for guests.</dd></dl></section>
<section id="headers"><h2>Response headers</h2>
<dl>${Object.entries(components.headers).map(renderHeader).join('')}</dl></section>
<section><h2>Schemas</h2>
${schemas.map(([name, schema]) =>
  `<section class="schema" id="schema-${name}"><h3>${name}</h3>${renderSchema(schema)}</section>`).join('\n')}</section>
</main>
</body>
</html>
`
}

function linkTo ({ path, method, operation }: RouteEntry): string {
  return `<a href="#${escape(operation.operationId)}"><b class="${method}">${method}</b> ${breakable(path)}</a>`
}

function renderCredential ([name, scheme]: [string, Document['components']['securitySchemes'][string]]): string {
  const type = [scheme.scheme, scheme.bearerFormat, scheme.in].filter(Boolean).join(' ')
  return `<dt>${escape(name)} <span class="type">${escape(type)}</span></dt><dd>${inline(scheme.description)}</dd>`
}

function renderHeader ([name, { schema, description }]: [string, Document['components']['headers'][string]]): string {
  return `<dt id="header-${name}"><code>${name}</code> ${typeOf(schema)}</dt><dd>${inline(description)}</dd>`
}

function renderOperation ({ path, method, operation }: RouteEntry, components: Document['components']): string {
  // Statuses are in order.
  const responses = Object.entries(operation.responses)
  const [status, success] = responses[0] as [string, Response]
  const refusals = responses.slice(1)
  const bodies = contentsOf(operation.requestBody)
  const shownCode = bodies.length === 0 ? 'origin_not_allowed' : 'policy_violation'
  const refusalExamples = refusals.flatMap(([, refusal]) => examplesOf(refusal)).filter(([code]) => code === shownCode)
  return `<section class="operation" id="${escape(operation.operationId)}">
<h2>${escape(operation.summary)}</h2>
<p class="route"><b class="${method}">${method}</b> <code>${breakable(path)}</code></p>
${paragraphs(operation.description)}
${operation.security?.length === 0 ? '<p>Needs no credential.</p>' : ''}
${bodies.map((body) => `<h3>Body</h3>${renderContent(body, components)}`).join('\n')}
<h3>Response <b class="ok">${status}</b></h3>
<p>${inline(success.description)}${headerLinks(success)}</p>
${contentsOf(success).map((content) => renderContent(content, components)).join('\n')}
<h3>Refusals</h3>
<div class="scroll"><table>
<thead><tr><th scope="col">Status</th><th scope="col">Code</th><th scope="col">Meaning</th></tr></thead>
<tbody>
${refusals.map(([status, refusal]) => renderRefusals(status, refusal)).join('\n')}
</tbody></table></div>
${renderExamples(Object.fromEntries(refusalExamples))}
</section>`
}

type ContentEntry = [type: string, content: Content[string]]

function contentsOf ({ content = {} }: Readonly<{ content?: Content }> = {}): ContentEntry[] {
  return Object.entries(content)
}

/** The content type is shown unless it is JSON. */
function renderContent ([type, { schema, examples }]: ContentEntry, components: Document['components']): string {
  const name = type === 'application/json' ? '' : `<p><code>${escape(type)}</code></p>`
  return name + renderReferred(schema, components) + renderExamples(examples)
}

function renderRefusals (status: string, refusal: Response): string {
  const examples = examplesOf(refusal)
  return examples.map(([code, { summary }], i) => {
    const head = i === 0 ? `<th scope="row" rowspan="${examples.length}">${status}</th>` : ''
    return `<tr>${head}<td><code>${breakable(code)}</code></td><td>${inline(summary)}</td></tr>`
  }).join('')
}

function examplesOf (response: Response): [code: string, example: Examples[string]][] {
  return contentsOf(response).flatMap(([, { examples }]) => Object.entries(examples))
}

function headerLinks ({ headers }: Response): string {
  const links = Object.keys(headers).map((name) => `<a href="#header-${name}"><code>${name}</code></a>`)
  return ` Headers: ${links.join(', ')}.`
}

function renderExamples (examples: Examples): string {
  return Object.values(examples).map(({ summary, value }, i) => {
    const open = i === 0 ? ' open' : ''
    return `<details class="example"${open}><summary>Example: ${inline(summary)}</summary>${json(value)}</details>`
  }).join('')
}

function renderReferred (reference: Schema, { schemas }: Document['components']): string {
  return `<p class="is">${typeOf(reference)}</p>${members(schemas[nameOf(reference)] as Schema)}`
}

/** Type and description, then the members; members with members of their own can be folded. */
function renderSchema (schema: Schema): string {
  return `<p class="is">${typeOf(schema)} ${describe(schema)}</p>${members(schema)}`
}

function members (schema: Schema): string {
  const [first, ...more] = variantsOf(schema).filter((variant) => membersOf(variant).length > 0)
  if (first === undefined) return schema.items === undefined ? '' : members(schema.items)
  if (more.length > 0) {
    return [first, ...more].map((variant) =>
      `<details open><summary>${typeOf(variant)}${kindOf(variant)}</summary>${members(variant)}</details>`).join('')
  }
  const items = membersOf(first).map(([name, inner]) => member(name, inner, first.required?.includes(name) === true))
  return `<ul class="members">${items.join('')}</ul>`
}

function member (name: string, schema: Schema, isRequired: boolean): string {
  const required = isRequired ? ' <em>required</em>' : ''
  const head = `<code>${escape(name)}</code> ${typeOf(schema)}${required} ${describe(schema)}`
  const inner = members(schema)
  return `<li>${inner === '' ? head : `<details><summary>${head}</summary>${inner}</details>`}</li>`
}

function membersOf ({ properties = {}, patternProperties = {} }: Schema): [name: string, schema: Schema][] {
  return [
    ...Object.entries(properties), ...Object.values(patternProperties).map((inner): [string, Schema] => ['…', inner])
  ]
}

/** The type by which one of several objects is recognized. */
function kindOf ({ properties }: Schema): string {
  const kind = properties?.type?.const
  return kind === undefined ? '' : ` <code>${escape(String(kind))}</code>`
}

function typeOf (schema: Schema): string {
  return `<span class="type">${typeText(schema)}</span>`
}

function typeText (schema: Schema): string {
  return [...new Set(variantsOf(schema).map(variantText))].join(' or ')
}

function variantText (schema: Schema): string {
  const { $ref, const: constant, enum: values, type = 'any', items } = schema
  if ($ref !== undefined) return `<a href="#schema-${nameOf(schema)}">${nameOf(schema)}</a>`
  if (constant !== undefined) return escape(JSON.stringify(constant))
  if (values !== undefined) return values.map((value) => escape(JSON.stringify(value))).join(' or ')
  if (items !== undefined) return `array of ${typeText(items)}`
  return escape([type].flat().join(' or '))
}

function nameOf ({ $ref = '' }: Schema): string {
  return escape($ref.replace(/^.*\//, ''))
}

function describe ({ description = '', minimum, maximum, minLength, pattern }: Schema): string {
  const bounds = [
    minimum === undefined ? undefined : maximum === undefined ? `at least ${minimum}` : `${minimum} to ${maximum}`,
    minLength === undefined ? undefined : 'not empty',
    pattern
  ].flatMap((bound) => bound === undefined ? [] : `<span class="bound">${escape(bound)}</span>`)
  return [...bounds, inline(description)].join(' ')
}

function json (value: Json): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2)
  return `<pre tabindex="0"><code>${escape(text)}</code></pre>`
}

function bulletList (items: readonly string[]): string {
  return `<ul>${items.map((item) => `<li>${item}</li>`).join('')}</ul>`
}

function paragraphs (text: string): string {
  return text.split('\n\n').map((part) => `<p>${inline(part)}</p>`).join('\n')
}

/** Renders code, the only Markdown in the document. */
function inline (text: string): string {
  return escape(text).replace(/`([^`]+)`/g, '<code>$1</code>')
}

/** Allows line breaks in long names. */
function breakable (text: string): string {
  return escape(text).replace(/[/_]/g, '$&<wbr>')
}

function escape (text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}
