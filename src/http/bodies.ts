// The body parsers of a scope's routes. A plugin inherits the parsers of the scope around it; one that sets its own
// changes nothing for other routes.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ApiError } from '../errors.ts'

export type BodyParser = Readonly<{
  /** Without parameters: `application/json`. */
  type: string
  limitBytes: number
  /** Throws ApiError. `contentType` is the header as it was sent. */
  parse: (body: Buffer, contentType: string) => unknown
}>

/** Every other type, and every content coding, is refused with 415. A request without a body and a type passes. */
export function takeBodies (scope: FastifyInstance, parsers: readonly BodyParser[]): void {
  scope.removeAllContentTypeParsers()
  for (const { type, limitBytes, parse } of parsers) {
    const options = { parseAs: 'buffer', bodyLimit: limitBytes } as const
    scope.addContentTypeParser(type, options, ({ headers }: FastifyRequest, body: Buffer, done) => {
      let parsed: unknown
      try {
        if ((headers['content-encoding'] ?? 'identity') !== 'identity') throw new ApiError('unsupported_media_type')
        parsed = parse(body, headers['content-type'] as string)
      } catch (error) {
        return done(error as ApiError)
      }
      done(null, parsed)
    })
  }
}
