// Where speech begins and ends in what the user sends: by loudness alone, as simple as server VAD can be.

import type { JsonObject } from '../../json.ts'
import { FRAME_MS, loudness } from './voice.ts'

/** How loud speech is at the threshold 0.5 that OpenAI begins with. */
const LOUD_AT_HALF = 0.02
/** 120 ms: a click, or the beep of a browser's fake microphone, is no speech. */
const LOUD_FRAMES = 6
const SILENCE_MS = 500

export type SpeechDetector = Readonly<{
  /** One frame of the user's audio. */
  hear: (frame: Uint8Array) => void
  /** Milliseconds of audio so far. */
  atMs: () => number
  close: () => void
}>

/** `detection` is the session's turn detection at the moment; null: it is off. */
export function createSpeechDetector (
  detection: () => JsonObject | null, onSpeech: (event: 'started' | 'stopped') => void
): SpeechDetector {
  let frames = 0
  let loudFrames = 0
  let silence: NodeJS.Timeout | undefined

  function stop (): void {
    silence = undefined
    onSpeech('stopped')
  }

  return {
    hear: (frame) => {
      frames++
      const settings = detection()
      if (settings === null) return
      const threshold = 2 * LOUD_AT_HALF * (typeof settings.threshold === 'number' ? settings.threshold : 0.5)
      loudFrames = loudness(frame) > threshold ? loudFrames + 1 : 0
      // A user who mutes sends nothing at all: the end is timed from the last loud frame.
      if (silence !== undefined && loudFrames > 0) silence.refresh()
      if (silence === undefined && loudFrames >= LOUD_FRAMES) {
        silence = setTimeout(
          stop, typeof settings.silence_duration_ms === 'number' ? settings.silence_duration_ms : SILENCE_MS
        )
        onSpeech('started')
      }
    },
    atMs: () => frames * FRAME_MS,
    close: () => clearTimeout(silence)
  }
}
