/** `userToken` comes from your own sign-in; `request` is {session?, expires_after?}, {} leaves all to the policy. */
export async function mint (mintUrl, userToken, request = {}) {
  const response = await fetch(`${mintUrl}/realtime/client_secrets`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${userToken}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(request)
  })
  const answer = await response.json()
  if (!response.ok) {
    const { code, param, message } = answer.error
    const retryAfter = Number(response.headers.get('Retry-After'))
    throw Object.assign(new Error(message), { status: response.status, code, param, retryAfter })
  }
  return { ...answer, realtimeUrl: response.headers.get('X-Realtime-Url') }
}
