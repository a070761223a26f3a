// A form of the fields that the policy allows. An empty control is left out of the request.

import { h } from './page.js'
import { describe, valueName } from './texts.js'

const NOTHING = 'left to the policy'
/** For narrow controls. */
const UNSET = 'not set'
/** OpenAI's minimum, in seconds. */
const SHORTEST_LIFETIME = 10

/** `read` returns {session, expires_after?} or throws InvalidField. `hasLifetime`: of a secret. */
export function policyForm (kind, { allow, prompts, expires_after: lifetime }, hasLifetime) {
  const fields = Object.entries(allow).map(([path, schema]) => schemaField(path, titleOf(path), schema))
  const prompt = prompts.length > 0 ? promptField(prompts) : null
  const seconds = hasLifetime ? lifetimeField(lifetime) : null
  const all = [...fields, prompt, seconds].filter((field) => field !== null)

  return {
    element: h('div', { class: 'fields' }, all.map(({ element }) => element)),
    read: () => {
      const session = kind === 'translation' ? {} : { type: kind }
      for (const { path, read } of fields) setIn(session, path.split('.'), read())
      const chosenPrompt = prompt?.read()
      if (chosenPrompt !== undefined) session.prompt = chosenPrompt
      const chosenSeconds = seconds?.read()
      return chosenSeconds === undefined
        ? { session }
        : { expires_after: { anchor: 'created_at', seconds: chosenSeconds }, session }
    }
  }
}

export class InvalidField extends Error {}

function schemaField (path, title, schema) {
  if (schema.enum !== undefined || 'const' in schema) return choiceField(path, title, schema)
  if (schema.type === 'number' || schema.type === 'integer') return numberField(path, title, schema)
  if (schema.type === 'boolean') return booleanField(path, title)
  if (schema.type === 'string') return textField(path, title, schema)
  return jsonField(path, title, schema)
}

function choiceField (path, title, { enum: values, const: only }) {
  const options = values ?? [only]
  const select = h('select', {}, h('option', { value: '' }, NOTHING), options.map(
    (value, i) => h('option', { value: i }, valueName(value))
  ))
  return field(path, title, select, { read: () => select.value === '' ? undefined : options[select.value] })
}

function numberField (path, title, schema) {
  const { type, minimum, maximum } = schema
  const step = type === 'integer' ? 1 : 'any'
  const number = h('input', { type: 'number', min: minimum, max: maximum, step, placeholder: UNSET })
  const built = field(
    path, title, number, { note: describe(schema), read: () => number.value === '' ? undefined : Number(number.value) }
  )
  if (minimum === undefined || maximum === undefined) return built
  const range = h('input', {
    type: 'range',
    min: minimum,
    max: maximum,
    step: type === 'integer' ? 1 : (maximum - minimum) / 100,
    class: 'unset',
    'aria-label': `${title}, as a slider`
  })
  range.addEventListener('input', () => { number.value = range.value; range.className = '' })
  number.addEventListener(
    'input', () => { range.value = number.value; range.className = number.value === '' ? 'unset' : '' }
  )
  const row = h('div', { class: 'range' })
  number.replaceWith(row)
  row.append(range, number)
  return built
}

function lifetimeField (lifetime) {
  const seconds = numberField('expires_after.seconds', 'Lifetime of the secret, in seconds', {
    type: 'integer', minimum: SHORTEST_LIFETIME, maximum: lifetime.max
  })
  seconds.hint.textContent = 'time to connect, not length of the session: ' +
    `${SHORTEST_LIFETIME} to ${lifetime.max}, default ${lifetime.default}`
  return seconds
}

/** Indeterminate, and so left out, until it is clicked. */
function booleanField (path, title) {
  const box = h('input', { type: 'checkbox' })
  box.indeterminate = true
  return field(path, title, box, { note: NOTHING, read: () => box.indeterminate ? undefined : box.checked })
}

function textField (path, title, schema) {
  const input = h(
    'input',
    { type: 'text', maxlength: schema.maxLength, placeholder: NOTHING, autocomplete: 'off', spellcheck: 'false' }
  )
  return field(path, title, input, { note: describe(schema), read: () => input.value === '' ? undefined : input.value })
}

function jsonField (path, title, schema) {
  const area = h('textarea', { rows: 3, placeholder: NOTHING, spellcheck: 'false', class: 'json' })
  const built = field(path, title, area, { note: describe(schema), read })
  built.element.classList.add('wide')
  const samples = (schema.anyOf ?? schema.oneOf ?? []).map(sample)
  if (samples.length > 0) {
    area.after(h('div', { class: 'samples' }, samples.map((value) => h('button', {
      type: 'button',
      'aria-label': `${title}: fill in ${valueName(value)}`,
      onclick: () => {
        area.value = JSON.stringify(value, null, 2)
        area.dispatchEvent(new Event('input', { bubbles: true }))
      }
    }, value === null ? 'null' : valueName(value)))))
  }
  return built

  function read () {
    area.removeAttribute('aria-invalid')
    if (area.value.trim() === '') return undefined
    try {
      return JSON.parse(area.value)
    } catch {
      area.setAttribute('aria-invalid', 'true')
      throw new InvalidField(`${title} is not valid JSON.`)
    }
  }
}

function promptField (prompts) {
  const names = prompts.map(({ id, version }) => version === undefined ? id : `${id}, version ${version}`)
  const select = h(
    'select', {}, h('option', { value: '' }, NOTHING), names.map((name, i) => h('option', { value: i }, name))
  )
  const variables = h('div', { class: 'variables' })
  let variableFields = []
  const built = field('prompt', 'Prompt', select, {
    note: 'a named prompt of the policy file',
    read: () => {
      const { id, version } = prompts[select.value] ?? {}
      if (id === undefined) return undefined
      const values = variableFields.flatMap(({ path, read }) => read() === undefined ? [] : [[path, read()]])
      return {
        id,
        ...(version === undefined ? {} : { version }),
        ...(values.length === 0 ? {} : { variables: Object.fromEntries(values) })
      }
    }
  })
  select.addEventListener('change', () => {
    variableFields = Object.entries(prompts[select.value]?.variables ?? {}).map(
      ([name, schema]) => schemaField(name, `Variable ${name}`, schema)
    )
    variables.replaceChildren(...variableFields.map(({ element }) => element))
  })
  built.element.append(variables)
  return built
}

function field (path, title, control, { note = '', read }) {
  control.id = `field-${path}`
  const hint = h('p', { class: 'hint', id: `hint-${path}` }, note)
  control.setAttribute('aria-describedby', hint.id)
  const label = h('label', { for: control.id }, title, ' ', h('code', {}, path))
  return { path, hint, read, element: h('div', { class: 'field' }, label, control, hint) }
}

/** The smallest value that a schema accepts. */
function sample (schema) {
  if ('const' in schema) return schema.const
  if (schema.enum !== undefined) return schema.enum[0]
  const { type, properties = {}, required = [], minimum = 0 } = schema
  if (type === 'object') return Object.fromEntries(required.map((key) => [key, sample(properties[key] ?? {})]))
  return type === 'null' ? null : { array: [], number: minimum, integer: minimum, boolean: true }[type] ?? ''
}

function titleOf (path) {
  const title = path.split('.').at(-1).replaceAll('_', ' ')
  return title[0].toUpperCase() + title.slice(1)
}

function setIn (target, [key, ...rest], value) {
  if (value === undefined) return
  if (rest.length === 0) target[key] = value
  else setIn(target[key] ??= {}, rest, value)
}
