// Schemas with descriptions, which editors and error messages show.

import Type, { type TSchema } from 'typebox'

export function described<T extends TSchema> (description: string, schema: T): T {
  return { ...schema, description }
}

/** For a key that may be omitted. */
export function optional<T extends TSchema> (description: string, schema: T) {
  return Type.Optional(described(description, schema))
}
