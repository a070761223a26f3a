// What JSON Schema cannot say about a policy: contradictions, rules that cannot be met, values that would be refused
// at every request. Found when the file is read, all at once.

import { getIn, isObject, leafPaths, merge, omitIn, overlaps, type Json, type Path } from '../json.ts'
import { legacyCanCarry } from '../realtime/legacy.ts'
import { checkSession, isKnownPath, modelPath } from '../realtime/session.ts'
import { fixesToolTypes, openness } from './allowed-schema.ts'
import { isUserWritable } from './claims.ts'
import { splitPath, type Prompt, type Report, type SessionRules } from './rules.ts'
import { isMalformed, type Template } from './template.ts'

const dotted = (path: Path) => path.join('.')

export function reviewRules (rules: SessionRules, at: string, report: Report, legacyOnly: boolean): void {
  const allowed = Object.keys(rules.allowed).map(splitPath)
  const fixed = leafPaths(rules.fixed.source)
  const ignored = ignoredPaths(rules)
  const prompts = [...new Set([...rules.prompts.values(), rules.defaultPrompt])].filter((prompt) => prompt !== null)

  for (const [i, path] of allowed.entries()) {
    const where = `${at}.allow.${dotted(path)}`
    if (fixed.some((other) => overlaps(path, other))) report.problem(where, 'is fixed too: allow it or fix it')
    if (ignored.some((other) => overlaps(path, other))) report.problem(where, 'is ignored too: allow it or ignore it')
    if (allowed.slice(0, i).some((other) => overlaps(path, other))) report.problem(where, 'lies inside another allowed path, or around it')
    reviewSchema(rules.allowed[dotted(path)] as Json, path, where, report)
  }
  for (const prompt of prompts) {
    for (const path of leafPaths(prompt.session.source)) {
      if (fixed.some((other) => overlaps(path, other))) report.problem(`prompts.${prompt.name}.session.${dotted(path)}`, `is fixed by ${at}: leave it to one of them`)
    }
  }
  const said = [
    ...saidIn(rules.fixed, `${at}.fixed`), ...saidIn(rules.defaults, `${at}.defaults`),
    ...allowed.map((path) => ({ path, where: `${at}.allow.${dotted(path)}`, value: undefined })),
    ...prompts.flatMap((prompt) => saidIn(prompt.session, `prompts.${prompt.name}.session`))
  ]
  for (const { path, where, value } of said) {
    reviewPath(rules, path, where, report)
    if (legacyOnly && !legacyCanCarry(rules.kind, path, value)) report.problem(where, 'cannot be said to an upstream of OPENAI_MINT_API=sessions')
  }
  for (const path of rules.hide) {
    if (!isKnownPath(rules.kind, path)) report.warning(`${at}.hide`, `${dotted(path)} is no path that this version knows`)
  }
  reviewAliases(rules, at, report, prompts)
  if (rules.expiresAfter.default > rules.expiresAfter.max) report.problem(`${at}.expires_after.default`, 'is above max')
  for (const prompt of [null, ...prompts]) reviewResult(rules, prompt, at, allowed, report)
}

/** Templates are judged wherever they stand, prompts that no policy takes included. */
export function reviewTemplate (template: Template, at: string, report: Report, variables: string[] | null): void {
  for (const path of leafStrings(template.source)) {
    if (isMalformed(path.text)) report.problem(`${at}.${dotted(path.path)}`, 'has {{ or }} that is no template: write {{claim}}, {{/json/pointer}} or {{variables.name}}, each with |default')
  }
  for (const reference of template.references) {
    const variable = /^variables\.(.+)$/.exec(reference)?.[1]
    if (variable !== undefined && variables !== null && !variables.includes(variable)) report.problem(at, `reads variables.${variable}, which the prompt does not declare under variables:`)
    if (variable === undefined && isUserWritable(reference)) report.warning(at, `reads ${reference}, which users can write themselves`)
  }
}

function reviewSchema (schema: Json, path: Path, where: string, report: Report): void {
  const open = openness(schema)
  if (open !== null) report.problem(where, open)
  if (dotted(path) === 'tools' && !fixesToolTypes(schema)) {
    report.problem(where, 'must fix each tool\'s type: items: { properties: { type: { const: function } } }')
  }
}

function reviewPath (rules: SessionRules, path: Path, where: string, report: Report): void {
  if (path[0] === 'type') return report.problem(where, 'is said by the kind of session already')
  if (path[0] === 'prompt' && rules.prompts.size > 0) return report.problem(where, 'is what prompts: is for: leave out one of them')
  if (!isKnownPath(rules.kind, path)) report.warning(where, 'is no path that this version knows: it is sent as written')
}

function reviewAliases (rules: SessionRules, at: string, report: Report, prompts: Prompt[]): void {
  const path = modelPath(rules.kind)
  const accepts = path.reduce<SessionRules['client'] | undefined>((node, key) => node?.below.get(key), rules.client)?.accepts
  // Where an outer path is allowed, or the model is a template, what is reachable shows only at a request.
  const open = path.some((_, i) => Object.hasOwn(rules.allowed, dotted(path.slice(0, i)))) ||
    rules.fixed.paths.some((templated) => overlaps(templated, path))
  if (open) return
  const said = [rules.fixed, ...prompts.map((prompt) => prompt.session)].map(({ source }) => getIn(source, path))
  for (const [alias, model] of rules.aliases) {
    if (!said.includes(model) && accepts?.(model) !== true) report.problem(`${at}.aliases.${alias}`, 'leads to a model that is neither fixed nor allowed')
  }
}

/** What the policy says alone must meet our types, but for what a client or a template may still make of it. */
function reviewResult (rules: SessionRules, prompt: Prompt | null, at: string, allowed: Path[], report: Report): void {
  const said = merge(merge(rules.defaults.source, prompt?.session.source ?? {}), rules.fixed.source)
  const known = rules.unknown.reduce(omitIn, said)
  const path = checkSession(rules.kind, known)
  if (path === null) return
  const templated = [rules.fixed, rules.defaults, ...(prompt === null ? [] : [prompt.session])].flatMap((template) => template.paths)
  if ([...allowed, ...templated].some((open) => overlaps(open, path))) return
  const whose = prompt === null ? at : `${at} with prompts.${prompt.name}`
  report.problem(whose, path.length === 0 ? 'is not a complete session config' : `${dotted(path)} is not what the realtime API takes there`)
}

function ignoredPaths (rules: SessionRules): Path[] {
  const walk = (node: SessionRules['client'], path: Path): Path[] => [
    ...(node.ignored ? [path] : []),
    ...[...node.below].flatMap(([key, below]) => walk(below, [...path, key]))
  ]
  return walk(rules.client, [])
}

function saidIn ({ source }: Template, at: string): { path: Path, where: string, value: Json | undefined }[] {
  return leafPaths(source).map((path) => ({ path, where: `${at}.${dotted(path)}`, value: getIn(source, path) }))
}

function leafStrings (value: Json, path: Path = []): { path: Path, text: string }[] {
  if (typeof value === 'string') return [{ path, text: value }]
  if (Array.isArray(value)) return value.flatMap((item, i) => leafStrings(item, [...path, String(i)]))
  return isObject(value) ? Object.entries(value).flatMap(([key, inner]) => leafStrings(inner, [...path, key])) : []
}
