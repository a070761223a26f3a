// The text that `npm run dev` prints once it is ready: addresses, and curl commands that mint.

export type Addresses = Readonly<{
  ephemint: string
  ops: string | null
  playground: string
  identityProvider: string
  upstream: string
  real: boolean
  policyFile: string
}>

const LEGACY_REQUEST = {
  model: 'gpt-4o-realtime-preview', modalities: ['audio', 'text'], voice: 'verse', temperature: 0.8
}
const REFUSED_REQUEST = { session: { type: 'realtime', model: 'gpt-realtime-2.1' } }

export function welcome (addresses: Addresses): string {
  const { ephemint, ops, playground, identityProvider, upstream, real, policyFile } = addresses
  const [fred, paula] = [`${identityProvider}/token?user=fred`, `${identityProvider}/token?user=paula`]
  return `
Ephemint's sandbox is ready. Ctrl-C stops all of it.

  Playground   ${playground}
  Ephemint     ${ephemint}/v1${ops === null ? '' : `   operations: ${ops}`}
  Upstream     ${upstream}   ${real ? 'the real one: your key is charged' : 'emulated: no key, no bill'}
  Sign-in      ${identityProvider}/token?user=…   fred (free), paula (pro); &form=opaque
  Policy       ${policyFile}   edits apply at once

Mint a client secret:

  ${curl(`${ephemint}/v1/realtime/client_secrets`, paula, {})}

The same in the format of the beta API:

  ${curl(`${ephemint}/v1/realtime/sessions`, paula, LEGACY_REQUEST)}

A request that the policy refuses:

  ${curl(`${ephemint}/v1/realtime/client_secrets`, fred, REFUSED_REQUEST)}
`
}

function curl (url: string, tokenUrl: string, body: object): string {
  return [
    `curl -sS -X POST ${url}`, `-H "Authorization: Bearer $(curl -sS '${tokenUrl}')"`,
    "-H 'Content-Type: application/json'", `-d '${JSON.stringify(body)}'`
  ].join(' ')
}
