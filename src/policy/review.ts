// Checks that JSON Schema cannot express: contradictions, rules that nothing can meet, values that would be refused at
// every request. All are reported at once, when the file is loaded.

import { isUserWritable } from '../callers/claims.ts'
import { getIn, type Json, leafPaths, merge, omitIn, overlaps, type Path, withIn } from '../json.ts'
import { legacyCanCarry } from '../realtime/legacy/request.ts'
import { checkSession, isKnownPath, modelPath, schemaAt, sessionSchemas } from '../realtime/session.ts'
import type { Report, StrictReport } from '../schema/report.ts'
import { describeSchema, type SchemaNode } from '../schema/schema-text.ts'
import { openness, pathsIn } from './allowed-schema.ts'
import { type Prompt, ruleAt, type SessionRules, splitPath, TURN_DETECTION } from './compile.ts'
import { meantPath, withoutSession } from './meant-path.ts'
import { unreachableNulls } from './review-nulls.ts'
import type { Template } from './template.ts'
import { fixesToolTypes } from './tool-types.ts'

const dotted = (path: Path) => path.join('.')

export function reviewRules (rules: SessionRules, at: string, report: StrictReport, legacyOnly: boolean): void {
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
    const schema = rules.allowed[dotted(path)] as Json
    reviewSchema(schema, path, where, report)
    for (const place of unreachableNulls(rules.kind, path, schema)) {
      report.warning(where, `admits null at ${place}, where the API takes none: a client's null counts as not set`)
    }
  }
  for (const prompt of prompts) {
    for (const path of leafPaths(prompt.session.source)) {
      if (fixed.some((other) => overlaps(path, other))) {
        report.problem(`prompts.${prompt.name}.session.${dotted(path)}`, `is fixed by ${at}: leave it to one of them`)
      }
    }
  }
  const settings = [
    ...templateSettings(rules.fixed, `${at}.fixed`), ...templateSettings(rules.defaults, `${at}.defaults`),
    ...allowed.map((path) => ({ path, where: `${at}.allow.${dotted(path)}`, value: undefined })),
    ...prompts.flatMap((prompt) => templateSettings(prompt.session, `prompts.${prompt.name}.session`))
  ]
  for (const { path, where, value } of settings) {
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
    report.problem(`${at}.ignore`, 'names prompt, which clients need because of prompts: leave it out')
  }
  for (const path of ignored) {
    if (path[0] === 'session') report.mistake(`${at}.ignore`, wrongPath(path, withoutSession(path)))
  }
  for (const path of rules.hide) {
    const meant = meantPath(rules.kind, path)
    if (meant !== null) report.mistake(`${at}.hide`, `${dotted(path)} ${wrongPath(path, meant)}`)
    else if (!isKnownPath(rules.kind, path)) {
      report.warning(`${at}.hide`, `${dotted(path)} is not a path that this version knows`)
    }
  }
  reviewAliases(rules, at, report, prompts)
  reviewModel(rules, at, report, allowed)
  if (rules.expiresAfter.default > rules.expiresAfter.max) {
    report.problem(`${at}.expires_after.default`, 'is above max: lower it, or raise max')
  }
  reviewCalls(rules, at, report, legacyOnly)
  const reported = new Set<string>()
  const problem = (path: string, text: string) => {
    if (!reported.has(path)) report.problem(path, text)
    reported.add(path)
  }
  // Null stands for a session without a prompt, which does not exist if there is a default prompt.
  for (const prompt of new Set([rules.defaultPrompt, ...prompts])) {
    reviewResult(rules, prompt, at, { ...report, problem })
  }
}

const TURN_CANNOT_END = 'turns off turn detection, and with data_channel: false no one could end a turn'

function reviewCalls (rules: SessionRules, at: string, report: Report, legacyOnly: boolean): void {
  const { calls } = rules
  if (calls === null) {
    if (!rules.hasSecrets) report.problem(`${at}.secrets`, 'is false, which needs calls: add calls: {}')
    return
  }
  if (legacyOnly) report.problem(`${at}.calls`, 'cannot be created with OPENAI_MINT_API=sessions')
  if (calls.idleSeconds > calls.maxSeconds) {
    report.problem(`${at}.calls.idle_seconds`, 'is above max_seconds: lower it, or raise max_seconds')
  }
  if (calls.hasDataChannel) return
  const written: [Template, string][] = [
    [rules.fixed, `${at}.fixed`], [rules.defaults, `${at}.defaults`],
    ...promptsOf(rules).map(({ name, session }): [Template, string] => [session, `prompts.${name}.session`])
  ]
  for (const [{ source }, where] of written) {
    if (getIn(source, TURN_DETECTION) === null) report.problem(`${where}.${dotted(TURN_DETECTION)}`, TURN_CANNOT_END)
  }
  for (const path of Object.keys(rules.allowed).map(splitPath)) {
    const inside = TURN_DETECTION.slice(path.length)
    const off = inside.length === 0 ? null : withIn({}, inside, null)
    const isAround = path.length <= TURN_DETECTION.length && overlaps(path, TURN_DETECTION)
    if (isAround && ruleAt(rules, path)?.accepts?.(off)) report.problem(`${at}.allow.${dotted(path)}`, TURN_CANNOT_END)
  }
}

const NOT_CARRIED = 'cannot be sent to an upstream of OPENAI_MINT_API=sessions: leave it out'

export function promptsOf ({ prompts, defaultPrompt }: Pick<SessionRules, 'prompts' | 'defaultPrompt'>): Prompt[] {
  return [...new Set([...prompts.values(), ...defaultPrompt === null ? [] : [defaultPrompt]])]
}

const MALFORMED = 'has {{ that does not begin a template: ' +
  'write {{claim}}, {{/json/pointer}} or {{variables.name}}, each with |default'

/** For every template of the file, including prompts that no policy uses. */
export function reviewTemplate (template: Template, at: string, report: Report, variables: readonly string[]): void {
  for (const path of template.malformed) {
    report.problem(`${at}.${dotted(path)}`, MALFORMED)
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

function reviewPath (rules: SessionRules, path: Path, where: string, report: StrictReport): void {
  if (path[0] === 'type') return report.problem(where, 'is set by the kind of session already: leave it out')
  if (path[0] === 'prompt' && rules.prompts.size > 0) {
    return report.problem(where, 'conflicts with prompts: leave out one of them')
  }
  const meant = meantPath(rules.kind, path)
  if (meant !== null) return report.mistake(where, wrongPath(path, meant))
  const nested = withoutSession(path.flatMap((name) => name.split('.')))
  if (nested.some((name, i) => name !== path[i]) && isKnownPath(rules.kind, nested)) {
    const members = `${nested.join(': { ')}: …${' }'.repeat(nested.length - 1)}`
    return report.mistake(where, `is one name with dots in it: write ${members}`)
  }
  if (!isKnownPath(rules.kind, path)) {
    report.warning(where, 'is not a path that this version knows: it is sent as written')
  }
}

function wrongPath ([first]: Path, meant: Path): string {
  const reason = first === 'session' ? 'begins with session, where paths begin inside it' : 'is a name of the beta'
  return `${reason}: write ${dotted(meant)}`
}

/** A secret for a session without a model opens one with any model, as the client likes. */
function reviewModel (rules: SessionRules, at: string, report: StrictReport, allowed: readonly Path[]): void {
  if (rules.kind !== 'realtime') return
  const path = modelPath(rules.kind)
  const templates = [rules.fixed, rules.defaults, ...promptsOf(rules).map(({ session }) => session)]
  const isGiven = templates.some(({ source }) => getIn(source, path) !== undefined) ||
    allowed.some((other) => overlaps(other, path))
  if (!isGiven) report.mistake(at, 'has no model: write one under fixed, defaults or a prompt, or allow the client one')
}

function reviewAliases (rules: SessionRules, at: string, report: Report, prompts: Prompt[]): void {
  const path = modelPath(rules.kind)
  const accepts = ruleAt(rules, path)?.accepts
  // If an outer path is allowed, or the model is a template, the possible models are known only at a request.
  const templates = [rules.fixed, ...prompts.map(({ session }) => session)]
  const isOpen = path.some((_, i) => Object.hasOwn(rules.allowed, dotted(path.slice(0, i)))) ||
    templates.some(({ paths }) => paths.some((templated) => overlaps(templated, path)))
  if (isOpen) return
  const configured = templates.map(({ source }) => getIn(source, path))
  for (const [alias, model] of rules.aliases) {
    const isReachable = configured.includes(model) || accepts?.(model) === true
    if (!isReachable) report.problem(`${at}.aliases.${alias}`, NOT_REACHABLE)
  }
}

const NOT_REACHABLE = 'leads to a model that is neither fixed nor allowed: allow that model, or name one that is'

/** The policy's own session must be valid, except where a client or a template may still change it. */
function reviewResult (rules: SessionRules, prompt: Prompt | null, at: string, report: Report): void {
  const parts: [Template, string][] = [
    [rules.fixed, `${at}.fixed`],
    ...prompt === null ? [] : [[prompt.session, `prompts.${prompt.name}.session`] as [Template, string]],
    [rules.defaults, `${at}.defaults`]
  ]
  const open: Path[] = [...Object.keys(rules.allowed).map(splitPath), ...parts.flatMap(([{ paths }]) => paths)]
  let session = rules.unknown.reduce(omitIn, parts.reduceRight((under, [{ source }]) => merge(under, source), {}))
  // One fault hides the next: each is removed in turn, and open from then on, so that its absence is not reported.
  for (let path = checkSession(rules.kind, session); path !== null; path = checkSession(rules.kind, session)) {
    const fault = path
    const where = parts.find(([{ source }]) => getIn(source, fault) !== undefined)?.[1]
    if (!open.some((other) => overlaps(other, fault))) {
      if (fault.length > 0) {
        const expected = describeSchema(schemaAt(rules.kind, fault))
        report.problem(`${where}.${dotted(fault)}`, `is not what the realtime API takes there: it takes ${expected}`)
      } else {
        const needed = (sessionSchemas[rules.kind] as SchemaNode).required?.join(', ')
        report.problem(
          prompt === null ? at : `prompts.${prompt.name}.session`,
          `is not a complete session config${prompt === null ? '' : ` in ${at}`}: it needs ${needed}`
        )
      }
    }
    if (fault.length === 0) return
    open.push(fault)
    session = omitIn(session, fault)
  }
}

function ignoredPaths (rules: SessionRules): Path[] {
  const walk = (node: SessionRules['client'], path: Path): Path[] => [
    ...(node.ignored ? [path] : []),
    ...[...node.below].flatMap(([key, below]) => walk(below, [...path, key]))
  ]
  return walk(rules.client, [])
}

function templateSettings ({ source }: Template, at: string): { path: Path, where: string, value: Json | undefined }[] {
  return leafPaths(source).map((path) => ({ path, where: `${at}.${dotted(path)}`, value: getIn(source, path) }))
}
