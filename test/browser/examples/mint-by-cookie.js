/** The browser sends the user's session cookie; the page need not be able to read it. */
export async function mintByCookie (mintUrl, request = {}) {
  const response = await fetch(`${mintUrl}/realtime/client_secrets`, {
    method: 'POST',
    credentials: 'include',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(request)
  })
  if (!response.ok) throw new Error((await response.json()).error.message)
  return { ...await response.json(), realtimeUrl: response.headers.get('X-Realtime-Url') }
}
