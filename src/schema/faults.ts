// Faults of a file by its schema, as messages that name what to write instead and never quote a value.

import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import type { TSchema } from 'typebox'
import { Check } from 'typebox/schema'
import { type Json, type Path, pointerPath } from '../json.ts'
import { describeSchema, type SchemaNode } from './schema-text.ts'

export type SchemaFault = Readonly<{ keyword: string, schemaPath: string, path: Path, problem: string }>

export function faultFinder (schema: TSchema): (value: unknown) => SchemaFault[] {
  // Compiled on demand: it takes a tenth of the start-up time, and most files have no faults.
  let compiled: ValidateFunction | undefined
  const compile = () => {
    compiled ??= new Ajv2020({ allErrors: true, strict: false, logger: false, verbose: true }).compile(schema)
    return compiled
  }
  return (value) => Check(schema, value) || compile()(value)
    ? []
    : relevant(compile().errors as ErrorObject[]).map((error) =>
      ({ keyword: error.keyword, schemaPath: error.schemaPath, path: pathOf(error), problem: problemOf(error) }))
}

/** If no variant of a union fits, each reports errors; only those below the choice between them are useful. */
function relevant (errors: readonly ErrorObject[]): ErrorObject[] {
  const unions = errors.filter(({ keyword }) => keyword === 'anyOf')
  const isInside = (error: ErrorObject, union: ErrorObject) =>
    error !== union && error.schemaPath.startsWith(`${union.schemaPath}/`)
  const deeper = errors.filter((error) => !unions.some((union) => isInside(error, union) &&
    error.instancePath === union.instancePath && ['const', 'type', 'anyOf'].includes(error.keyword)))
  return deeper.filter((error) => error.keyword !== 'anyOf' || !deeper.some((other) => isInside(other, error)))
}

function problemOf ({ keyword, params, message, schema, parentSchema }: ErrorObject): string {
  const { properties = {}, patternProperties, description } = parentSchema as SchemaNode
  const known = Object.keys(properties)
  switch (keyword) {
    case 'additionalProperties':
      if (patternProperties !== undefined) return 'is no dotted path such as audio.output.voice'
      return known.length === 0
        ? 'is not a known key: no keys are allowed here'
        : `is not a known key: allowed here are ${known.join(', ')}`
    case 'required': {
      const missing = properties[params.missingProperty] as SchemaNode
      return `is missing: ${missing.description ?? describeSchema(missing)}`
    }
    case 'anyOf': return `must be one of: ${describeSchema({ anyOf: schema as SchemaNode[] })}`
    case 'const': return `must be ${JSON.stringify(params.allowedValue)}`
    case 'enum': return `must be one of ${(params.allowedValues as Json[]).join(', ')}`
    case 'minItems': return 'must not be empty: omit it, or add something'
    case 'minProperties':
      return `must not be empty: ${known.length === 0 ? 'omit it, or add something' : `add ${known.join(', ')}`}`
    case 'maxProperties': return 'must have exactly one key: make each an entry of its own'
    case 'pattern': return `has the wrong form: ${description ?? params.pattern}`
    default: return message as string
  }
}

function pathOf ({ instancePath, params }: ErrorObject): Path {
  const path = pointerPath(instancePath)
  const name = params.additionalProperty ?? params.missingProperty
  return name === undefined ? path : [...path, name]
}
