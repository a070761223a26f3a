// Client spans: functions that send requests, each wrapped so that a span describes what it sends. No header is read or
// added: neither the trace nor anything else of OpenTelemetry leaves for the servers that are asked.

import {
  ATTR_DB_NAMESPACE, ATTR_DB_OPERATION_NAME, ATTR_DB_SYSTEM_NAME, ATTR_HTTP_REQUEST_METHOD,
  ATTR_SERVER_ADDRESS, ATTR_SERVER_PORT, ATTR_URL_FULL
} from '@opentelemetry/semantic-conventions'
import type { Config } from '../config/environment.ts'
import { ApiError } from '../errors.ts'
import type { OutboundError, SendRequest } from '../outbound/request.ts'
import type { Around } from '../redis/connection.ts'
import { attempt } from '../upstream/attempt.ts'
import type { Dial } from '../upstream/sideband.ts'
import type { Outcome, Tracing } from './tracing.ts'

export type TracedRequests = Readonly<{
  attempt: typeof attempt
  send: (send: SendRequest) => SendRequest
  /** The opening alone: a sideband lives as long as its call. */
  dial: (dial: Dial) => Dial
  around: Around | undefined
}>

export function traceRequests (
  { ask, isForRequest }: Pick<Tracing, 'ask' | 'isForRequest'>,
  { upstream: { baseUrl }, redis }: Pick<Config, 'upstream' | 'redis'>
): TracedRequests {
  return {
    attempt: async (pool, post, deadline) => {
      const span = ask(...describe('POST', new URL(post.path, baseUrl)))
      const outcome = await attempt(pool, post, deadline)
      span.end(outcome instanceof ApiError ? failure(outcome.reason) : answer(outcome.status))
      return outcome
    },
    send: (send) => async (url, options) => {
      const span = ask(...describe(options.method ?? 'GET', new URL(url)))
      try {
        const response = await send(url, options)
        span.end(answer(response.status))
        return response
      } catch (error) {
        span.end(failure((error as OutboundError).code))
        throw error
      }
    },
    dial: (dial) => (path, key, handlers) => {
      const span = ask(...describe('GET', new URL(baseUrl.pathname.replace(/\/$/, '') + path, baseUrl)))
      let isOpening = true
      const opened = (outcome: Outcome) => {
        if (isOpening) span.end(outcome)
        isOpening = false
      }
      const sideband = dial(path, key, {
        ...handlers,
        onOpen: () => {
          opened(answer(101))
          handlers.onOpen()
        },
        onClose: (closing) => {
          /* c8 ignore next 2 -- closed before it was open: test/upstream/sideband.test.ts, without spans */
          const [, status] = /^refused_(\d{3})$/.exec(closing.reason) ?? []
          opened(status === undefined ? failure('closed') : answer(Number(status)))
          handlers.onClose(closing)
        }
      })
      return {
        ...sideband,
        close: () => {
          opened(failure('given_up'))
          sideband.close()
        }
      }
    },
    around: redis === null
      ? undefined
      : (question) => async (...asked) => {
          if (!isForRequest()) return question(...asked)
          const span = ask('EVALSHA', {
            [ATTR_DB_SYSTEM_NAME]: 'redis',
            [ATTR_DB_OPERATION_NAME]: 'EVALSHA',
            [ATTR_DB_NAMESPACE]: String(redis.database),
            // With a cluster or sentinels only the client library knows which server it is.
            /* c8 ignore next -- their spans are those of one server, without its address */
            ...'host' in redis ? { [ATTR_SERVER_ADDRESS]: redis.host, [ATTR_SERVER_PORT]: redis.port } : {}
          })
          try {
            const answered = await question(...asked)
            span.end({ status: null, error: null })
            return answered
          } catch (error) {
            span.end(failure((error as ApiError).reason))
            throw error
          }
        }
  }
}

function answer (status: number): Outcome {
  return { status, error: status >= 400 ? String(status) : null }
}

function failure (reason: string | undefined): Outcome {
  return { status: null, error: String(reason) }
}

/** Without a query and a user. In the name calls have no id: names are few. */
function describe (method: string, { protocol, hostname, port, origin, pathname }: URL) {
  return [`${method} ${pathname.replace(/(\/calls\/)[^/]+/, '$1{id}')}`, {
    [ATTR_HTTP_REQUEST_METHOD]: method,
    [ATTR_URL_FULL]: origin + pathname,
    [ATTR_SERVER_ADDRESS]: hostname.replace(/^\[|\]$/g, ''),
    /* c8 ignore next -- OpenAI's own has no port, and tests have one */
    [ATTR_SERVER_PORT]: Number(port) || (protocol === 'https:' ? 443 : 80)
  }] as const
}
