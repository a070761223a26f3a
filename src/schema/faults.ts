// What is wrong with a file by its schema, in words that say what to write instead. Values are never said.

import { Ajv2020, type ErrorObject, type ValidateFunction } from 'ajv/dist/2020.js'
import type { TSchema } from 'typebox'
import { Check } from 'typebox/schema'
import { type Json, type Path, pointerPath } from '../json.ts'
import { type Node, wordsFor } from './words.ts'

export type SchemaFault = Readonly<{ keyword: string, schemaPath: string, path: Path, problem: string }>

export function faultFinder (schema: TSchema): (value: unknown) => SchemaFault[] {
  // Compiling what tells faults takes a tenth of a start: most files have none.
  let compiled: ValidateFunction | undefined
  const compile = () => {
    compiled ??= new Ajv2020({ allErrors: true, strict: false, logger: false, verbose: true }).compile(schema)
    return compiled
  }
  return (value) => Check(schema, value) || compile()(value)
    ? []
    : telling(compile().errors as ErrorObject[]).map((error) =>
      ({ keyword: error.keyword, schemaPath: error.schemaPath, path: pathOf(error), problem: describe(error) }))
}

/** Of a union that nothing fits, each variant complains: only what lies deeper than the choice among them is of use. */
function telling (errors: readonly ErrorObject[]): ErrorObject[] {
  const unions = errors.filter(({ keyword }) => keyword === 'anyOf')
  const isInside = (error: ErrorObject, union: ErrorObject) =>
    error !== union && error.schemaPath.startsWith(`${union.schemaPath}/`)
  const deeper = errors.filter((error) => !unions.some((union) => isInside(error, union) &&
    error.instancePath === union.instancePath && ['const', 'type', 'anyOf'].includes(error.keyword)))
  return deeper.filter((error) => error.keyword !== 'anyOf' || !deeper.some((other) => isInside(other, error)))
}

function describe ({ keyword, params, message, schema, parentSchema }: ErrorObject): string {
  const { properties = {}, patternProperties, description } = parentSchema as Node
  const known = Object.keys(properties)
  switch (keyword) {
    case 'additionalProperties':
      if (patternProperties !== undefined) return 'is no dotted path such as audio.output.voice'
      return known.length === 0
        ? 'is not a known key: nothing may stand here'
        : `is not a known key: here may stand ${known.join(', ')}`
    case 'required': return `is missing: ${properties[params.missingProperty]?.description ?? wordsFor(properties[params.missingProperty] as Node)}`
    case 'anyOf': return `has none of the forms that it may have: ${wordsFor({ anyOf: schema as Node[] })}`
    case 'const': return `must be ${JSON.stringify(params.allowedValue)}`
    case 'enum': return `must be one of ${(params.allowedValues as Json[]).join(', ')}`
    case 'minItems': return 'must not be empty: leave it out, or name something'
    case 'minProperties': return `must not be empty: ${known.length === 0 ? 'leave it out, or name something' : `say ${known.join(', ')}`}`
    case 'maxProperties': return 'must name one alone: make each an entry of its own'
    case 'pattern': return `is not of the form that it must have: ${description ?? params.pattern}`
    default: return message as string
  }
}

function pathOf ({ instancePath, params }: ErrorObject): Path {
  const path = pointerPath(instancePath)
  const name = params.additionalProperty ?? params.missingProperty
  return name === undefined ? path : [...path, name]
}
