// The same request as code to copy. It runs unchanged, unless it needs the user's own token.

/** The package's methods by route; for the others it posts. */
const METHODS = {
  'realtime/client_secrets': 'realtime.clientSecrets',
  'realtime/translations/client_secrets': 'realtime.translations.clientSecrets'
}

export function snippets ({ mintUrl, identityProviderUrl }, signIn, path, body) {
  return [
    { title: 'curl', text: curl() },
    { title: 'fetch', text: fetchCode() },
    { title: 'openai', text: openai() }
  ]

  function curl () {
    const data = `-H 'Content-Type: application/json' \\\n  -d ${quoted(body)}`
    const url = `curl -sS ${mintUrl}/${path}`
    if (signIn.id === 'guest') return `${url} \\\n  ${data}`
    if (signIn.id === 'cookie') {
      return `curl -sS -o /dev/null -c cookies.txt -X POST '${identityProviderUrl}/login?user=${signIn.user}'\n` +
        `${url} \\\n  -b cookies.txt -H 'Origin: ${location.origin}' \\\n  ${data}`
    }
    const token = signIn.user === undefined
      ? '$USER_TOKEN'
      : `$(curl -sS '${identityProviderUrl}/token?user=${signIn.user}')`
    return `${url} \\\n  -H "Authorization: Bearer ${token}" \\\n  ${data}`
  }

  function fetchCode () {
    const init = [
      'method: \'POST\'',
      ...(signIn.id === 'cookie' ? ['credentials: \'include\''] : []),
      bearer()
        // eslint-disable-next-line no-template-curly-in-string -- code that is shown, not run
        ? 'headers: { Authorization: `Bearer ${userToken}`, \'Content-Type\': \'application/json\' }'
        : 'headers: { \'Content-Type\': \'application/json\' }',
      `body: ${isJson(body) ? `JSON.stringify(${literal(body, 2)})` : JSON.stringify(body)}`
    ]
    return `${userToken()}const response = await fetch('${mintUrl}/${path}', {\n  ${init.join(',\n  ')}\n})\n` +
      'const minted = await response.json()'
  }

  function openai () {
    const options = [
      `baseURL: '${mintUrl}'`,
      bearer() ? 'apiKey: userToken' : 'apiKey: \'none\'',
      ...(bearer() ? [] : ['defaultHeaders: { Authorization: null }']),
      ...(signIn.id === 'cookie' ? ['fetchOptions: { credentials: \'include\' }'] : []),
      'dangerouslyAllowBrowser: true'
    ]
    return `import OpenAI from 'openai'\n\n${userToken()}` +
      `const mint = new OpenAI({\n  ${options.join(',\n  ')}\n})\nconst minted = await ${call()}`
  }

  function call () {
    const method = METHODS[path]
    const text = isJson(body) ? literal(body, 0) : JSON.stringify(body)
    return method === undefined || !isJson(body)
      ? `mint.post('/${path}', { body: ${text} })`
      : `mint.${method}.create(${text})`
  }

  function userToken () {
    return bearer() ? `${tokenLine(signIn, identityProviderUrl)}\n` : ''
  }

  function bearer () {
    return signIn.id !== 'guest' && signIn.id !== 'cookie'
  }
}

/** A call through Ephemint, as a page makes it. `session` is JSON. */
export function callSnippets ({ mintUrl, identityProviderUrl }, signIn, session, hasEvents) {
  const isBearer = signIn.id !== 'guest' && signIn.id !== 'cookie'
  const init = [
    'method: \'POST\'',
    ...(signIn.id === 'cookie' ? ['credentials: \'include\''] : []),
    // eslint-disable-next-line no-template-curly-in-string -- code that is shown, not run
    ...(isBearer ? ['headers: { Authorization: `Bearer ${userToken}` }'] : []),
    'body: form'
  ]
  const text = [
    ...(isBearer ? [tokenLine(signIn, identityProviderUrl)] : []),
    'const microphone = await navigator.mediaDevices.getUserMedia({ audio: true })',
    'const peer = new RTCPeerConnection()',
    'for (const track of microphone.getTracks()) peer.addTrack(track, microphone)',
    'const speaker = new Audio()',
    'speaker.autoplay = true',
    'peer.ontrack = ({ streams }) => { speaker.srcObject = streams[0] }',
    ...(hasEvents ? ['const events = peer.createDataChannel(\'oai-events\')'] : []),
    'await peer.setLocalDescription()',
    '',
    'const form = new FormData()',
    'form.append(\'sdp\', peer.localDescription.sdp)',
    `form.append('session', ${isJson(session) ? `JSON.stringify(${literal(session, 0)})` : JSON.stringify(session)})`,
    `const response = await fetch('${mintUrl}/realtime/calls', {\n  ${init.join(',\n  ')}\n})`,
    'await peer.setRemoteDescription({ type: \'answer\', sdp: await response.text() })',
    'const call = new URL(response.headers.get(\'Location\'), response.url).href   // POST to its /hangup ends it'
  ]
  return [{ title: 'fetch', text: text.join('\n') }]
}

/** The users of the sandbox have tokens; the user of one's own token brings it. */
function tokenLine ({ user }, identityProviderUrl) {
  return user === undefined
    ? 'const userToken = \'…\'   // from your own sign-in'
    : `const userToken = await (await fetch('${identityProviderUrl}/token?user=${user}')).text()`
}

function isJson (text) {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** JavaScript literals: unquoted keys where possible, strings in single quotes. */
function literal (json, indent) {
  const text = JSON.stringify(JSON.parse(json), null, 2)
    .replace(/"((?:[^"\\]|\\.)*)"(:?)/g, (_all, inner, colon) => colon !== '' && /^[a-z_]\w*$/i.test(inner)
      ? `${inner}:`
      : `'${inner.replaceAll('\\"', '"').replaceAll("'", "\\'")}'${colon}`)
  return text.replaceAll('\n', `\n${' '.repeat(indent)}`)
}

/** Quotes `text` for a POSIX shell. */
function quoted (text) {
  return `'${text.replaceAll("'", "'\\''")}'`
}
