import OpenAI from 'openai'

export async function mint (mintUrl, userToken, request = {}) {
  // The name warns of API keys in pages. What is in this page is the user's own token, which is theirs anyway.
  const client = new OpenAI({ baseURL: mintUrl, apiKey: userToken, dangerouslyAllowBrowser: true })
  const { data, response } = await client.realtime.clientSecrets.create(request).withResponse()
  return { ...data, realtimeUrl: response.headers.get('X-Realtime-Url') }
}
