import { OpenAIRealtimeWebRTC, RealtimeSession } from '@openai/agents-realtime'

// The library begins with a session.update in which the agent's instructions, voice and tools replace those of the
// policy. This transport sends an empty update instead.
class BrokeredWebRTC extends OpenAIRealtimeWebRTC {
  buildSessionPayload () { return { type: 'realtime' } }
}

/** `agent` is a RealtimeAgent. `apiKey` is the user's own token; the option admits keys other than client secrets. */
export async function call (mintUrl, userToken, agent) {
  const url = `${mintUrl}/realtime/calls`
  const transport = new BrokeredWebRTC({ useInsecureApiKey: true })
  const session = new RealtimeSession(agent, { transport, tracingDisabled: true })
  await session.connect({ apiKey: userToken, url })
  const { callId: id } = transport
  const hangUp = async () => {
    await fetch(`${url}/${id}/hangup`, { method: 'POST', headers: { Authorization: `Bearer ${userToken}` } })
    session.close()
  }
  return { id, session, hangUp }
}
