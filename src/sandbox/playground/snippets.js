// The same request as code to copy. It runs unchanged, unless it needs the user's own token.

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
    const token = signIn.user === undefined ? '$USER_TOKEN' : `$(curl -sS '${identityProviderUrl}/token?user=${signIn.user}')`
    return `${url} \\\n  -H "Authorization: Bearer ${token}" \\\n  ${data}`
  }

  function fetchCode () {
    const init = [
      'method: \'POST\'',
      ...(signIn.id === 'cookie' ? ['credentials: \'include\''] : []),
      // eslint-disable-next-line no-template-curly-in-string -- code that is shown, not run
      bearer() ? 'headers: { Authorization: `Bearer ${userToken}`, \'Content-Type\': \'application/json\' }' : 'headers: { \'Content-Type\': \'application/json\' }',
      `body: ${isJson(body) ? `JSON.stringify(${literal(body, 2)})` : JSON.stringify(body)}`
    ]
    return `${userToken()}const response = await fetch('${mintUrl}/${path}', {\n  ${init.join(',\n  ')}\n})\nconst minted = await response.json()`
  }

  function openai () {
    const options = [
      `baseURL: '${mintUrl}'`,
      bearer() ? 'apiKey: userToken' : 'apiKey: \'none\'',
      ...(bearer() ? [] : ['defaultHeaders: { Authorization: null }']),
      ...(signIn.id === 'cookie' ? ['fetchOptions: { credentials: \'include\' }'] : []),
      'dangerouslyAllowBrowser: true'
    ]
    return `import OpenAI from 'openai'\n\n${userToken()}const mint = new OpenAI({\n  ${options.join(',\n  ')}\n})\nconst minted = await ${call()}`
  }

  function call () {
    const method = { 'realtime/client_secrets': 'realtime.clientSecrets', 'realtime/translations/client_secrets': 'realtime.translations.clientSecrets' }[path]
    const text = isJson(body) ? literal(body, 0) : JSON.stringify(body)
    return method === undefined || !isJson(body) ? `mint.post('/${path}', { body: ${text} })` : `mint.${method}.create(${text})`
  }

  function userToken () {
    if (!bearer()) return ''
    return signIn.user === undefined
      ? 'const userToken = \'…\'   // from your own sign-in\n'
      : `const userToken = await (await fetch('${identityProviderUrl}/token?user=${signIn.user}')).text()\n`
  }

  function bearer () {
    return signIn.id !== 'guest' && signIn.id !== 'cookie'
  }
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
    .replace(/"((?:[^"\\]|\\.)*)"(:?)/g, (_all, inner, colon) => colon !== '' && /^[a-z_]\w*$/i.test(inner) ? `${inner}:` : `'${inner.replaceAll('\\"', '"').replaceAll("'", "\\'")}'${colon}`)
  return text.replaceAll('\n', `\n${' '.repeat(indent)}`)
}

/** Quotes `text` for a POSIX shell. */
function quoted (text) {
  return `'${text.replaceAll("'", "'\\''")}'`
}
