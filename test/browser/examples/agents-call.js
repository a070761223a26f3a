import { OpenAIRealtimeWebRTC, RealtimeSession } from '@openai/agents-realtime'

/** `agent` is a RealtimeAgent, `mintUrl` the service's, such as https://mint.example.com/v1. */
export async function connectByCall (agent, mintUrl, userToken) {
  // The library asks for this if the "key" is not a client secret: here it is the user's own token.
  const transport = new OpenAIRealtimeWebRTC({ useInsecureApiKey: true })
  const realtime = new RealtimeSession(agent, { transport, model: 'gpt-realtime-2.1' })
  await realtime.connect({ apiKey: userToken, url: `${mintUrl}/realtime/calls` })
  return realtime
}
