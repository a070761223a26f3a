// The API reference as one page: HTML written here, no script, and nothing that is fetched. A page of a library would be
// megabytes of script on the listener of a service that holds a key, to show ten schemas.

import { hash } from 'node:crypto'
import { type Json, variantsOf } from '../json.ts'
import type { Document, Response, Schema, Told } from './document.ts'
import type { Examples } from './examples.ts'
import { CSS } from './style.ts'

export const PAGE_HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'no-cache',
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  // Whatever a page might try to fetch, it may not.
  'content-security-policy': `default-src 'none'; style-src 'sha256-${hash('sha256', CSS, 'base64')}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
}

type Operation = Readonly<{ path: string, method: string, told: Told }>

export function renderPage ({ openapi, info, tags, paths, components }: Document): string {
  const operations = Object.entries(paths).flatMap(
    ([path, methods]) => Object.entries(methods).map(([method, told]): Operation => ({ path, method, told }))
  )
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
${tags.map((tag) => `<p>${escape(tag.name)}</p><ul>${operations.filter((one) => one.told.tags[0] === tag.name).map(({ path, told, method }) => `<li><a href="#${escape(told.operationId)}"><b class="${method}">${method}</b> ${breakable(path)}</a></li>`).join('')}</ul>`).join('\n')}
<p>More</p><ul><li><a href="#credentials">Credentials</a></li><li><a href="#headers">Headers</a></li></ul>
<p>Schemas</p><ul>${schemas.map(([name]) => `<li><a href="#schema-${name}">${name}</a></li>`).join('')}</ul>
</nav>
<main id="top">
<h1>${escape(info.title)}</h1>
<p class="lead">${escape(info.summary)}.</p>
${paragraphs(info.description)}
<p><a href="openapi.json">openapi.json</a> is this page for machines (OpenAPI ${escape(openapi)}).</p>
${operations.map((operation) => renderOperation(operation, components)).join('\n')}
<section id="credentials"><h2>Credentials</h2>
<dl>${Object.entries(components.securitySchemes).map(([name, scheme]) => `<dt>${escape(name)} <span class="type">${escape([scheme.scheme, scheme.bearerFormat, scheme.in].filter(Boolean).join(' '))}</span></dt><dd>${inline(scheme.description)}</dd>`).join('')}
<dt>none</dt><dd>Where a caller entry is for guests.</dd></dl></section>
<section id="headers"><h2>Headers of answers</h2>
<dl>${Object.entries(components.headers).map(([name, header]) => `<dt id="header-${name}"><code>${name}</code> ${typeOf(header.schema)}</dt><dd>${inline(header.description)}</dd>`).join('')}</dl></section>
<section><h2>Schemas</h2>
${schemas.map(([name, schema]) => `<section class="schema" id="schema-${name}"><h3>${name}</h3>${renderSchema(schema)}</section>`).join('\n')}</section>
</main>
</body>
</html>
`
}

function renderOperation ({ path, method, told }: Operation, components: Document['components']): string {
  const { 200: granted, ...refusals } = told.responses
  const { schema, examples } = granted.content['application/json']
  const body = told.requestBody?.content['application/json']
  return `<section class="operation" id="${escape(told.operationId)}">
<h2>${escape(told.summary)}</h2>
<p class="route"><b class="${method}">${method}</b> <code>${breakable(path)}</code></p>
${paragraphs(told.description)}
${told.security?.length === 0 ? '<p>Anyone may ask.</p>' : ''}
${body === undefined ? '' : `<h3>Body</h3>${renderReferred(body.schema, components)}${renderExamples(body.examples)}`}
<h3>Answer <b class="ok">200</b></h3>
<p>${inline(granted.description)}${listOf(granted)}</p>
${renderReferred(schema, components)}
${renderExamples(examples)}
<h3>Refusals</h3>
<div class="scroll"><table><thead><tr><th scope="col">Status</th><th scope="col">Code</th><th scope="col">Meaning</th></tr></thead><tbody>
${Object.entries(refusals).map(([status, refusal]) => renderRefusals(status, refusal)).join('\n')}
</tbody></table></div>
${renderExamples(Object.fromEntries(Object.values(refusals).flatMap(examplesOf).filter(([code]) => code === (told.requestBody ? 'policy_violation' : 'origin_not_allowed'))))}
</section>`
}

function renderRefusals (status: string, refusal: Response): string {
  const examples = examplesOf(refusal)
  return examples.map(([code, { summary }], i) =>
    `<tr>${i === 0 ? `<th scope="row" rowspan="${examples.length}">${status}</th>` : ''}<td><code>${breakable(code)}</code></td><td>${inline(summary)}</td></tr>`).join('')
}

function examplesOf (response: Response): [code: string, example: Examples[string]][] {
  return Object.entries(response.content['application/json'].examples)
}

function listOf ({ headers }: Response): string {
  return ` Headers: ${Object.keys(headers).map((name) => `<a href="#header-${name}"><code>${name}</code></a>`).join(', ')}.`
}

function renderExamples (examples: Examples): string {
  return Object.values(examples).map(({ summary, value }, i) =>
    `<details class="example"${i === 0 ? ' open' : ''}><summary>Example: ${inline(summary)}</summary>${json(value)}</details>`).join('')
}

function renderReferred (reference: Schema, { schemas }: Document['components']): string {
  return `<p class="is">${typeOf(reference)}</p>${members(schemas[nameOf(reference)] as Schema)}`
}

/** What it is in words, then its members; those that have members of their own fold. */
function renderSchema (schema: Schema): string {
  return `<p class="is">${typeOf(schema)} ${describe(schema)}</p>${members(schema)}`
}

function members (schema: Schema): string {
  const [only, ...more] = variantsOf(schema).filter((variant) => membersOf(variant).length > 0)
  if (only === undefined) return schema.items === undefined ? '' : members(schema.items)
  if (more.length > 0) {
    return [only, ...more].map((variant) =>
    `<details open><summary>${typeOf(variant)}${kindOf(variant)}</summary>${members(variant)}</details>`).join('')
  }
  return `<ul class="members">${membersOf(only).map(([name, inner]) => member(name, inner, only.required?.includes(name) === true)).join('')}</ul>`
}

function member (name: string, schema: Schema, required: boolean): string {
  const head = `<code>${escape(name)}</code> ${typeOf(schema)}${required ? ' <em>required</em>' : ''} ${describe(schema)}`
  const inner = members(schema)
  return `<li>${inner === '' ? head : `<details><summary>${head}</summary>${inner}</details>`}</li>`
}

function membersOf ({ properties = {}, patternProperties = {} }: Schema): [name: string, schema: Schema][] {
  return [
    ...Object.entries(properties), ...Object.values(patternProperties).map((inner): [string, Schema] => ['…', inner])
  ]
}

/** Which of several objects it is. */
function kindOf ({ properties }: Schema): string {
  const kind = properties?.type?.const
  return kind === undefined ? '' : ` <code>${escape(String(kind))}</code>`
}

function typeOf (schema: Schema): string {
  return `<span class="type">${wordsFor(schema)}</span>`
}

function wordsFor (schema: Schema): string {
  return [...new Set(variantsOf(schema).map(wordFor))].join(' or ')
}

function wordFor (schema: Schema): string {
  const { $ref, const: only, enum: values, type = 'any', items } = schema
  if ($ref !== undefined) return `<a href="#schema-${nameOf(schema)}">${nameOf(schema)}</a>`
  if (only !== undefined) return escape(JSON.stringify(only))
  if (values !== undefined) return values.map((value) => escape(JSON.stringify(value))).join(' or ')
  if (items !== undefined) return `array of ${wordsFor(items)}`
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
  return `<pre tabindex="0"><code>${escape(JSON.stringify(value, null, 2))}</code></pre>`
}

function paragraphs (text: string): string {
  return text.split('\n\n').map((part) => `<p>${inline(part)}</p>`).join('\n')
}

/** Of Markdown only what the document uses. */
function inline (text: string): string {
  return escape(text).replace(/`([^`]+)`/g, '<code>$1</code>')
}

/** Long names may be broken where one would. */
function breakable (text: string): string {
  return escape(text).replace(/[/_]/g, '$&<wbr>')
}

function escape (text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}
