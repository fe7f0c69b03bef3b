/**
 * What a model file says about itself. The JavaScript runtimes do not show the metadata of a file,
 * so it is read from the bytes: an ONNX file is one protobuf message.
 */

/**
 * The metadata of an exported file; docs/format.md explains every key.
 *
 * @typedef {object} Spec
 * @property {number} format
 * @property {'mask' | 'waveform' | 'stream'} interface
 * @property {{name: string, shape: (string | number)[]}[]} inputs
 * @property {{name: string, shape: (string | number)[]}[]} outputs
 * @property {{input: string, output: string, size: number} | null} state of a stream
 * @property {number | null} latency_samples of a stream: how many samples the output is late
 * @property {{sample_rate_hz: number, n_fft: number, win_length: number, hop_length: number}} stft
 */

/** A model file is foreign, damaged, or made for something else. */
export class ModelFileError extends Error {
  name = 'ModelFileError'
}

const FORMAT = 2
const KEY = 'fsnp_onnx'
const METADATA_PROPS = 14 // a field of ModelProto; its entries have 1: key and 2: value
const LENGTH_DELIMITED = 2 // a wire type of protobuf
const FIXED_SIZES = new Map([[1, 8], [5, 4]]) // bytes of the other types that a message may hold

/**
 * Read the metadata of an exported file.
 *
 * @param {Uint8Array} bytes the whole file
 * @returns {Spec}
 * @throws {ModelFileError} the file is foreign, damaged or too new
 */
export function readSpec(bytes) {
  const text = metadata(bytes)
  if (text === undefined)
    throw new ModelFileError('the model file has no fsnp_onnx metadata; make it with fsnp-export')
  /** @type {Spec} */
  let spec
  try {
    spec = JSON.parse(text)
  } catch {
    throw new ModelFileError('the metadata of the model file is damaged; export it again')
  }
  if (spec?.format !== FORMAT)
    throw new ModelFileError(
      `the model file has format ${spec?.format}; this version reads format ${FORMAT}`)
  return spec
}

/**
 * Read the metadata and refuse a file of another interface.
 *
 * @param {Uint8Array} bytes
 * @param {Spec['interface']} expected
 * @returns {Spec}
 */
export function readSpecOf(bytes, expected) {
  const spec = readSpec(bytes)
  if (spec.interface !== expected)
    throw new ModelFileError(
      `the model file has the interface '${spec.interface}'; '${expected}' is needed: ` +
      `export it with --interface ${expected}`)
  return spec
}

/** @param {Uint8Array} bytes */
function metadata(bytes) {
  try {
    for (const [field, entry] of fields(bytes)) {
      if (field !== METADATA_PROPS) continue
      const [key, value] = [...fields(entry)].map(([, text]) => new TextDecoder().decode(text))
      if (key === KEY) return value
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    throw new ModelFileError('the model file is not an ONNX file, or is truncated')
  }
  return undefined
}

/**
 * Yield the number and the bytes of every field of a message that holds bytes, and pass over others.
 *
 * @param {Uint8Array} bytes
 * @returns {Generator<[number, Uint8Array]>}
 */
function* fields(bytes) {
  let at = 0
  const varint = () => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      if (at >= bytes.length) throw new RangeError('truncated')
      const byte = bytes[at++]
      value += (byte & 127) * scale // not <<, which ends at 32 bits
      if (byte < 128) return value
    }
  }
  while (at < bytes.length) {
    const tag = varint()
    const type = tag & 7
    if (type === 0) {
      varint()
      continue
    }
    const size = type === LENGTH_DELIMITED ? varint() : FIXED_SIZES.get(type)
    if (size === undefined || at + size > bytes.length) throw new RangeError('truncated')
    if (type === LENGTH_DELIMITED) yield [Math.floor(tag / 8), bytes.subarray(at, at + size)]
    at += size
  }
}
