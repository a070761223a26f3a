import type { FastifyRequest } from 'fastify'
import type { JsonObject } from '../json.ts'

/** The authenticated user of the app that runs this service. */
export type Caller = Readonly<{
  issuer: string
  subject: string
  claims: JsonObject
  /** Unix seconds; what vouches for the caller is not good any longer than this. */
  expiresAt: number
}>

/** One way of proving who one is: a caller, or a throw; never "nobody". */
export type Authenticate = (request: FastifyRequest) => Caller | Promise<Caller>

/** The issuer of those who presented nothing. No other entry may use it. */
export const GUEST_ISSUER = 'guest'
