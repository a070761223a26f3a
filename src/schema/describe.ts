// Schemas with what an editor shows of them.

import Type, { type TSchema } from 'typebox'

export function described<T extends TSchema> (description: string, schema: T): T {
  return { ...schema, description }
}

/** The same of a key that may be left out. */
export function optional<T extends TSchema> (description: string, schema: T) {
  return Type.Optional(described(description, schema))
}
