// What JSON Schema cannot say about a policy: contradictions, rules that cannot be met, values that would be refused
// at every request. Found when the file is read, all at once.

import { isUserWritable } from '../callers/claims.ts'
import { getIn, type Json, leafPaths, merge, omitIn, overlaps, type Path } from '../json.ts'
import { legacyCanCarry } from '../realtime/legacy/request.ts'
import { checkSession, isKnownPath, modelPath, schemaAt, sessionSchemas } from '../realtime/session.ts'
import type { Report } from '../schema/report.ts'
import { type SchemaNode, describeSchema } from '../schema/words.ts'
import { openness, pathsIn } from './allowed-schema.ts'
import { type Prompt, type SessionRules, splitPath } from './compile.ts'
import type { Template } from './template.ts'
import { fixesToolTypes } from './tool-types.ts'

const dotted = (path: Path) => path.join('.')

export function reviewRules (rules: SessionRules, at: string, report: Report, legacyOnly: boolean): void {
  const allowed = Object.keys(rules.allowed).map(splitPath)
  const fixed = leafPaths(rules.fixed.source)
  const ignored = ignoredPaths(rules)
  const prompts = promptsOf(rules)

  for (const [i, path] of allowed.entries()) {
    const where = `${at}.allow.${dotted(path)}`
    if (fixed.some((other) => overlaps(path, other))) report.problem(where, 'is fixed too: allow it or fix it')
    if (ignored.some((other) => overlaps(path, other))) report.problem(where, 'is ignored too: allow it or ignore it')
    if (allowed.slice(0, i).some((other) => overlaps(path, other))) {
      report.problem(where, 'lies inside another allowed path, or around it: keep one of the two')
    }
    reviewSchema(rules.allowed[dotted(path)] as Json, path, where, report)
  }
  for (const prompt of prompts) {
    for (const path of leafPaths(prompt.session.source)) {
      if (fixed.some((other) => overlaps(path, other))) {
        report.problem(`prompts.${prompt.name}.session.${dotted(path)}`, `is fixed by ${at}: leave it to one of them`)
      }
    }
  }
  const said = [
    ...saidIn(rules.fixed, `${at}.fixed`), ...saidIn(rules.defaults, `${at}.defaults`),
    ...allowed.map((path) => ({ path, where: `${at}.allow.${dotted(path)}`, value: undefined })),
    ...prompts.flatMap((prompt) => saidIn(prompt.session, `prompts.${prompt.name}.session`))
  ]
  for (const { path, where, value } of said) {
    reviewPath(rules, path, where, report)
    if (legacyOnly && !legacyCanCarry(rules.kind, path, value)) report.problem(where, NOT_CARRIED)
  }
  for (const path of allowed) {
    const inner = pathsIn(rules.allowed[dotted(path)] as Json, path).slice(1)
    if (legacyOnly && inner.some((below) => !legacyCanCarry(rules.kind, below))) {
      report.problem(`${at}.allow.${dotted(path)}`, NOT_CARRIED)
    }
  }
  if (rules.prompts.size > 0 && ignored.some(([key]) => key === 'prompt')) {
    report.problem(`${at}.ignore`, 'names prompt, which is what prompts: is for: leave it out')
  }
  for (const path of rules.hide) {
    if (!isKnownPath(rules.kind, path)) {
      report.warning(`${at}.hide`, `${dotted(path)} is no path that this version knows`)
    }
  }
  reviewAliases(rules, at, report, prompts)
  if (rules.expiresAfter.default > rules.expiresAfter.max) {
    report.problem(`${at}.expires_after.default`, 'is above max: lower it, or raise max')
  }
  const told = new Set<string>()
  const problem = (path: string, text: string) => {
    if (!told.has(path)) report.problem(path, text)
    told.add(path)
  }
  // With a default prompt there is no session without one.
  for (const prompt of new Set([rules.defaultPrompt, ...prompts])) {
    reviewResult(rules, prompt, at, { ...report, problem })
  }
}

const NOT_CARRIED = 'cannot be said to an upstream of OPENAI_MINT_API=sessions: leave it out'

export function promptsOf ({ prompts, defaultPrompt }: Pick<SessionRules, 'prompts' | 'defaultPrompt'>): Prompt[] {
  return [...new Set([...prompts.values(), ...defaultPrompt === null ? [] : [defaultPrompt]])]
}

/** Templates are judged wherever they stand, prompts that no policy takes included. */
export function reviewTemplate (template: Template, at: string, report: Report, variables: readonly string[]): void {
  for (const path of template.malformed) {
    report.problem(
      `${at}.${dotted(path)}`,
      'has {{ that begins no template: write {{claim}}, {{/json/pointer}} or {{variables.name}}, each with |default'
    )
  }
  for (const reference of template.references) {
    const variable = /^variables\.(.+)$/.exec(reference)?.[1]
    if (variable !== undefined && !variables.includes(variable)) {
      report.problem(at, `reads variables.${variable}, which no prompt here declares under variables:`)
    }
    if (variable === undefined && isUserWritable(reference)) {
      report.warning(at, `reads ${reference}, which users can write themselves`)
    }
  }
}

function reviewSchema (schema: Json, path: Path, where: string, report: Report): void {
  const open = openness(schema)
  if (open !== null) report.problem(where, open)
  if (dotted(path) === 'tools' && !fixesToolTypes(schema)) {
    report.problem(
      where, 'must fix each tool\'s type: items: { required: [type], properties: { type: { const: function } } }'
    )
  }
}

function reviewPath (rules: SessionRules, path: Path, where: string, report: Report): void {
  if (path[0] === 'type') return report.problem(where, 'is said by the kind of session already: leave it out')
  if (path[0] === 'prompt' && rules.prompts.size > 0) {
    return report.problem(where, 'is what prompts: is for: leave out one of them')
  }
  if (!isKnownPath(rules.kind, path)) report.warning(where, 'is no path that this version knows: it is sent as written')
}

function reviewAliases (rules: SessionRules, at: string, report: Report, prompts: Prompt[]): void {
  const path = modelPath(rules.kind)
  const accepts = path.reduce<SessionRules['client'] | undefined>((node, key) => node?.below.get(key), rules.client)
    ?.accepts
  // Where an outer path is allowed, or the model is a template, what is reachable shows only at a request.
  const open = path.some((_, i) => Object.hasOwn(rules.allowed, dotted(path.slice(0, i)))) ||
    [rules.fixed, ...prompts.map((prompt) => prompt.session)].some(
      ({ paths }) => paths.some((templated) => overlaps(templated, path))
    )
  if (open) return
  const said = [rules.fixed, ...prompts.map((prompt) => prompt.session)].map(({ source }) => getIn(source, path))
  for (const [alias, model] of rules.aliases) {
    if (!said.includes(model) && accepts?.(model) !== true) {
      report.problem(
      `${at}.aliases.${alias}`,
      'leads to a model that is neither fixed nor allowed: allow that model, or name one that is'
      )
    }
  }
}

/** What the policy says alone must meet our types, but for what a client or a template may still make of it. */
function reviewResult (rules: SessionRules, prompt: Prompt | null, at: string, report: Report): void {
  const parts: [Template, string][] = [
    [rules.fixed, `${at}.fixed`],
    ...prompt === null ? [] : [[prompt.session, `prompts.${prompt.name}.session`] as [Template, string]],
    [rules.defaults, `${at}.defaults`]
  ]
  const open: Path[] = [...Object.keys(rules.allowed).map(splitPath), ...parts.flatMap(([{ paths }]) => paths)]
  let said = rules.unknown.reduce(omitIn, parts.reduceRight((under, [{ source }]) => merge(under, source), {}))
  // One fault hides the next: each is taken out in turn, and what then lacks it is no fault of its own.
  for (let path = checkSession(rules.kind, said); path !== null; path = checkSession(rules.kind, said)) {
    const fault = path
    const where = parts.find(([{ source }]) => getIn(source, fault) !== undefined)?.[1]
    if (!open.some((other) => overlaps(other, fault))) {
      if (fault.length > 0) {
        report.problem(
        `${where}.${dotted(fault)}`,
        `is not what the realtime API takes there: it takes ${describeSchema(schemaAt(rules.kind, fault))}`
        )
      } else {
        report.problem(
          prompt === null ? at : `prompts.${prompt.name}.session`,
        `is not a complete session config${prompt === null ? '' : ` in ${at}`}: it needs ${(sessionSchemas[rules.kind] as SchemaNode).required?.join(', ')}`
        )
      }
    }
    if (fault.length === 0) return
    open.push(fault)
    said = omitIn(said, fault)
  }
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
