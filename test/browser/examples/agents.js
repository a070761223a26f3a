import { OpenAIRealtimeWebRTC, OpenAIRealtimeWebSocket, RealtimeSession } from '@openai/agents-realtime'

// The library begins with a session.update in which the agent's instructions, voice and tools replace the minted
// ones. These transports send an empty update instead, so the minted session stays as it is.
class MintedWebRTC extends OpenAIRealtimeWebRTC {
  buildSessionPayload () { return { type: 'realtime' } }
}
class MintedWebSocket extends OpenAIRealtimeWebSocket {
  buildSessionPayload () { return { type: 'realtime' } }
}

/** `agent` is a RealtimeAgent. Its tools still run here, for the minted tools of the same name. */
export async function connectByWebRtc (agent, { value, session, realtimeUrl }) {
  const transport = new MintedWebRTC()
  const realtime = new RealtimeSession(agent, { transport, model: session.model, tracingDisabled: true })
  await realtime.connect({ apiKey: value, url: realtimeUrl })
  return realtime
}

export async function connectByWebSocket (agent, { value, session, realtimeUrl }) {
  const url = `${realtimeUrl.replace(/^http/, 'ws').replace(/\/calls$/, '')}?model=${session.model}`
  const transport = new MintedWebSocket()
  const realtime = new RealtimeSession(agent, { transport, model: session.model, tracingDisabled: true })
  await realtime.connect({ apiKey: value, url })
  return realtime
}
