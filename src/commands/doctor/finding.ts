// What the doctor found: one thing that was looked at, and what to do where it is wrong.

import { OutboundError } from '../../outbound/request.ts'
import { codeOf } from '../../upstream/attempt.ts'

export type Finding = Readonly<{
  /** `note`: nothing is wrong, but not all could be told. */
  state: 'ok' | 'note' | 'wrong'
  subject: string
  says: string
  advice?: string
}>

export const ok = (subject: string, says: string): Finding => ({ state: 'ok', subject, says })
export const note = (subject: string, says: string, advice: string): Finding =>
  ({ state: 'note', subject, says, advice })
export const wrong = (subject: string, says: string, advice: string): Finding =>
  ({ state: 'wrong', subject, says, advice })

const SILENCE: readonly (readonly [codes: RegExp, says: string, advice: string])[] = [
  [/^ECONNREFUSED$/, 'nothing listens there', 'start it, or mend the address'],
  [/^(ENOTFOUND|EAI_AGAIN)$/, 'its name leads to no address', 'mend the address, or the DNS of this machine'],
  [
    /^(CERT_HAS_EXPIRED|CERT_NOT_YET_VALID)$/, 'its certificate is not valid at this time',
    'renew the certificate, or set the clock of this machine'
  ],
  [/^ERR_TLS_CERT_ALTNAME_INVALID$/, 'its certificate is for another name', 'use the name that the certificate is for'],
  [
    /^(DEPTH_ZERO|SELF_SIGNED|UNABLE_TO)/, 'its certificate is signed by nobody whom this machine trusts',
    'let NODE_EXTRA_CA_CERTS name the file with the CA that signed it'
  ],
  [/^(EPROTO|ERR_SSL)/, 'it does not speak TLS as we do', 'mend the port, or what stands in between'],
  [/^(ECONNRESET|EPIPE|UND_ERR_SOCKET)$/, 'it hangs up', 'look into its log, or at what stands in between'],
  [
    /^(ETIMEDOUT|UND_ERR_CONNECT_TIMEOUT|EHOSTUNREACH|ENETUNREACH|TIMEOUT)$/, 'it cannot be reached',
    'let this machine out to it: a firewall, a proxy or a route is missing'
  ]
]

/** Why nobody answered, and what to do. */
export function silence (subject: string, where: string, error: unknown): Finding {
  const cause = error instanceof OutboundError ? error.cause : error
  const code = (cause as Error | undefined)?.name === 'TimeoutError' ? 'TIMEOUT' : codeOf(cause ?? {})
  const [, says, advice] = SILENCE.find(([codes]) => codes.test(code)) ??
    [/./, 'it gives no answer that can be read', 'mend the address, or what listens there']
  return wrong(subject, `${where}: ${says}`, advice)
}
