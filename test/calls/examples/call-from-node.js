import OpenAI from 'openai'

/** `offer` is the SDP of a peer connection; without `session` the policy's own is meant. */
export async function call (mintUrl, userToken, offer, session) {
  const client = new OpenAI({ baseURL: mintUrl, apiKey: userToken })
  const response = await client.realtime.calls.create({ sdp: offer, session })
  const id = response.headers.get('Location').split('/').at(-1)
  return { answer: await response.text(), hangUp: () => client.realtime.calls.hangup(id) }
}
