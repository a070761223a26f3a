// A finding of the doctor: the result of one check, and advice if something is wrong.

import { OutboundError } from '../../outbound/request.ts'
import { codeOf } from '../../upstream/attempt.ts'

export type Finding = Readonly<{
  /** `note`: no fault was found, but something was not checked or deserves attention. */
  state: 'ok' | 'note' | 'wrong'
  subject: string
  message: string
  advice?: string
}>

export const ok = (subject: string, message: string): Finding => ({ state: 'ok', subject, message })
export const note = (subject: string, message: string, advice: string): Finding =>
  ({ state: 'note', subject, message, advice })
export const wrong = (subject: string, message: string, advice: string): Finding =>
  ({ state: 'wrong', subject, message, advice })

const CONNECTION_FAULTS: readonly (readonly [codes: RegExp, message: string, advice: string])[] = [
  [/^ECONNREFUSED$/, 'nothing listens there', 'start it, or fix the address'],
  [/^(ENOTFOUND|EAI_AGAIN)$/, 'its name does not resolve', 'fix the address, or the DNS of this machine'],
  [
    /^(CERT_HAS_EXPIRED|CERT_NOT_YET_VALID)$/, 'its certificate is not valid at this time',
    'renew the certificate, or set the clock of this machine'
  ],
  [/^ERR_TLS_CERT_ALTNAME_INVALID$/, 'its certificate is for another name', 'use the name that the certificate is for'],
  [
    /^(DEPTH_ZERO|SELF_SIGNED|UNABLE_TO)/, 'its certificate is not signed by a CA that this machine trusts',
    'set NODE_EXTRA_CA_CERTS to a file with that CA'
  ],
  [/^(EPROTO|ERR_SSL)/, 'the TLS handshake failed', 'fix the port, or a proxy in between'],
  [
    /^PROXY_407$/, 'the proxy of HTTPS_PROXY or HTTP_PROXY wants a login', 'put user and password into its URL'
  ],
  [
    /^PROXY_/, 'the proxy of HTTPS_PROXY or HTTP_PROXY opens no tunnel to it',
    'let the proxy connect there, or name the host in NO_PROXY'
  ],
  [/^(ECONNRESET|EPIPE|UND_ERR_SOCKET)$/, 'it closed the connection', 'check its log, or that of a proxy in between'],
  [
    /^(ETIMEDOUT|UND_ERR_CONNECT_TIMEOUT|EHOSTUNREACH|ENETUNREACH|TIMEOUT)$/, 'it cannot be reached',
    'allow connections to it: check firewall, proxy and routes'
  ]
]

/** Why a request got no response, and what to fix. */
export function connectionFault (subject: string, where: string, error: unknown): Finding {
  const cause = error instanceof OutboundError ? error.cause : error
  const code = (cause as Error | undefined)?.name === 'TimeoutError' ? 'TIMEOUT' : codeOf(cause ?? {})
  const [, message, advice] = CONNECTION_FAULTS.find(([codes]) => codes.test(code)) ??
    [/./, 'its response is not valid HTTP', 'fix the address, or the server there']
  return wrong(subject, `${where}: ${message}`, advice)
}
