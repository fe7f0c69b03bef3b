/** WAV files: every usual kind in, 32-bit float out. */

/** Bytes are not a WAV file that can be read. */
export class WavError extends Error {
  name = 'WavError'
}

const PCM = 1
const FLOAT = 3
const EXTENSIBLE = 0xfffe // the real kind stands in the first two bytes of a GUID

/** @type {Record<string, (view: DataView, at: number) => number>} by kind and bits; full scale is 1 */
const SAMPLE = {
  '1/8': (view, at) => (view.getUint8(at) - 128) / 2 ** 7,
  '1/16': (view, at) => view.getInt16(at, true) / 2 ** 15,
  '1/24': (view, at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 2 ** 16) / 2 ** 23,
  '1/32': (view, at) => view.getInt32(at, true) / 2 ** 31,
  '3/32': (view, at) => view.getFloat32(at, true),
  '3/64': (view, at) => view.getFloat64(at, true),
}

/**
 * Read a WAV file: PCM of 8, 16, 24 or 32 bits, or float of 32 or 64.
 *
 * @param {Uint8Array} bytes the whole file
 * @returns {{sampleRate: number, channels: Float32Array[]}} samples with a full scale of 1
 * @throws {WavError} the bytes are not a WAV file, or of a kind that is not read
 */
export function readWav(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const { format, data } = chunks(view)
  const found = format && view.getUint16(format, true)
  if (!format || data === undefined) throw new WavError('not a WAV file, or it is truncated')
  const kind = found === EXTENSIBLE && format + 26 <= bytes.length ? view.getUint16(format + 24, true) : found
  const nChannels = view.getUint16(format + 2, true)
  const bits = view.getUint16(format + 14, true)
  const sample = SAMPLE[`${kind}/${bits}`]
  if (!sample || !nChannels)
    throw new WavError(`a WAV file of kind ${kind} with ${bits} bits is not read; ` +
      `known are ${PCM} (PCM) with 8 to 32 bits and ${FLOAT} (float) with 32 or 64`)
  const width = bits / 8
  const frames = Math.floor(data.size / (width * nChannels))
  const channels = Array.from({ length: nChannels }, (_, channel) => {
    const samples = new Float32Array(frames)
    for (let n = 0, at = data.at + channel * width; n < frames; n++, at += width * nChannels)
      samples[n] = sample(view, at)
    return samples
  })
  return { sampleRate: view.getUint32(format + 4, true), channels }
}

/** Find where the format and the samples lie. @param {DataView} view */
function chunks(view) {
  const name = (/** @type {number} */ at) =>
    String.fromCharCode(...[0, 1, 2, 3].map((n) => view.getUint8(at + n)))
  /** @type {{format?: number, data?: {at: number, size: number}}} */
  const found = {}
  if (view.byteLength < 12 || name(0) !== 'RIFF' || name(8) !== 'WAVE') return found
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const size = view.getUint32(at + 4, true)
    const rest = view.byteLength - at - 8
    if (name(at) === 'fmt ' && Math.min(size, rest) >= 16) found.format = at + 8
    // A program that was cut short leaves a size of 0 or the largest one: the rest is samples.
    if (name(at) === 'data') found.data = { at: at + 8, size: Math.min(size || rest, rest) }
    at += 8 + size + (size % 2)
  }
  return found
}

/**
 * Write a WAV file of 32-bit floats, which holds every sample exactly, also above full scale.
 *
 * @param {Float32Array[]} channels as many samples in each
 * @param {number} sampleRate in Hz
 * @returns {Uint8Array<ArrayBuffer>} the file
 */
export function writeWav(channels, sampleRate) {
  const frames = channels[0].length
  const size = 4 * frames * channels.length
  const bytes = new Uint8Array(58 + size)
  const view = new DataView(bytes.buffer)
  let at = 0
  const text = (/** @type {string} */ name) => {
    for (const letter of name) view.setUint8(at++, letter.charCodeAt(0))
  }
  const u16 = (/** @type {number} */ value) => view.setUint16((at += 2) - 2, value, true)
  const u32 = (/** @type {number} */ value) => view.setUint32((at += 4) - 4, value, true)
  text('RIFF'), u32(50 + size), text('WAVE')
  text('fmt '), u32(18), u16(FLOAT), u16(channels.length), u32(sampleRate)
  u32(4 * channels.length * sampleRate), u16(4 * channels.length), u16(32), u16(0)
  text('fact'), u32(4), u32(frames) // asked for where samples are not PCM
  text('data'), u32(size)
  for (let n = 0; n < frames; n++)
    for (const samples of channels) view.setFloat32((at += 4) - 4, samples[n], true)
  return bytes
}
