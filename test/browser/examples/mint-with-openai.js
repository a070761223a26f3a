import OpenAI from 'openai'

export async function mint (mintUrl, userToken, request = {}) {
  // The option's name warns of API keys in pages. This page holds only the user's own token.
  const client = new OpenAI({ baseURL: mintUrl, apiKey: userToken, dangerouslyAllowBrowser: true })
  const { data, response } = await client.realtime.clientSecrets.create(request).withResponse()
  return { ...data, realtimeUrl: response.headers.get('X-Realtime-Url') }
}
