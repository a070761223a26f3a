import OpenAI from 'openai'
import { OpenAIRealtimeWebRTC } from 'openai/realtime/webrtc'

export async function call (mintUrl, userToken, onEvent) {
  // The option's name warns of API keys in pages. This page holds only the user's own token.
  const client = new OpenAI({ baseURL: mintUrl, apiKey: userToken, dangerouslyAllowBrowser: true })
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true })
  const stopMicrophone = () => { for (const track of microphone.getTracks()) track.stop() }
  const connection = new OpenAIRealtimeWebRTC()
  for (const track of microphone.getTracks()) connection.peerConnection.addTrack(track, microphone)
  const speaker = new Audio()
  speaker.autoplay = true
  connection.peerConnection.ontrack = ({ streams }) => { speaker.srcObject = streams[0] }
  connection.onEvent(onEvent)
  let id
  await connection.connect({
    exchangeSdp: async (sdp, { signal }) => {
      const response = await client.realtime.calls.create({ sdp }, { signal })
      id = response.headers.get('Location').split('/').at(-1)
      return response.text()
    }
  }).catch((error) => {
    stopMicrophone()
    throw error
  })
  const hangUp = async () => {
    stopMicrophone()
    await client.realtime.calls.hangup(id)
    connection.close()
  }
  return { id, send: (event) => connection.send(event), hangUp }
}
