// The sound of a call: G.711 µ-law at 8 kHz, in frames of 20 ms, as browsers send and take it beside Opus.
// Encoding it takes no library, and so the emulator can hear when the user talks and hum an answer.

export const FRAME_MS = 20
export const FRAME_SAMPLES = 160

const SAMPLES_PER_SECOND = 8000
const BIAS = 0x84
const CLIP = 32_635

/** A sample of -1 to 1 as one byte (ITU-T G.711). */
function encodeSample (sample: number): number {
  const sign = sample < 0 ? 0x80 : 0
  const magnitude = Math.min(Math.round(Math.abs(sample) * 32_767), CLIP) + BIAS
  const exponent = 31 - Math.clz32(magnitude >> 7)
  const mantissa = (magnitude >> (exponent + 3)) & 0x0f
  return ~(sign | (exponent << 4) | mantissa) & 0xff
}

function decodeSample (byte: number): number {
  const bits = ~byte & 0xff
  const magnitude = ((((bits & 0x0f) << 3) + BIAS) << ((bits >> 4) & 7)) - BIAS
  return (bits & 0x80 ? -magnitude : magnitude) / 32_767
}

/** The root mean square of a frame, 0 to 1. */
export function loudness (frame: Uint8Array): number {
  if (frame.length === 0) return 0
  return Math.sqrt(frame.reduce((sum, byte) => sum + decodeSample(byte) ** 2, 0) / frame.length)
}

/** Humming that rises and falls five times a second, as syllables do. */
export function hum (milliseconds: number): Buffer[] {
  return Array.from({ length: Math.ceil(milliseconds / FRAME_MS) }, (_, frame) =>
    Buffer.from(Uint8Array.from({ length: FRAME_SAMPLES }, (_, i) => {
      const seconds = (frame * FRAME_SAMPLES + i) / SAMPLES_PER_SECOND
      const tone = [1, 2, 3, 4].reduce((sum, n) => sum + Math.sin(2 * Math.PI * 160 * n * seconds) / n, 0)
      return encodeSample(0.25 * Math.sin(5 * Math.PI * seconds) ** 2 * tone)
    })))
}
