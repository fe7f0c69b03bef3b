import { readSpecOf } from './metadata.js'

/** @import { Spec } from './metadata.js' */

/**
 * What this package needs of an ONNX runtime: onnxruntime-web and onnxruntime-node have it.
 *
 * @typedef {{data: unknown, dispose?: () => void}} Result
 * @typedef {{run(feeds: Record<string, any>): Promise<Record<string, Result>>,
 *   release(): Promise<void>}} Session
 * @typedef {object} Runtime
 * @property {{create(bytes: Uint8Array, options?: object): Promise<Session>}} InferenceSession
 * @property {new (type: 'float32', data: Float32Array, dims: number[]) => any} Tensor
 */

/** A model file that is open. */
export class Model {
  /**
   * The interface of the files that a class takes.
   *
   * @type {Spec['interface']}
   */
  static interface

  /**
   * Open a file.
   *
   * @template {Model} T
   * @this {{interface: Spec['interface'], new (runtime: Runtime, session: Session, spec: Spec): T}}
   * @param {Runtime} runtime onnxruntime-web or onnxruntime-node
   * @param {Uint8Array} bytes the file
   * @param {object} [options] session options of the runtime
   * @returns {Promise<T>}
   * @throws {import('./metadata.js').ModelFileError} the file has another interface, or is foreign
   */
  static async create(runtime, bytes, options = {}) {
    const spec = readSpecOf(bytes, this.interface)
    return new this(runtime, await runtime.InferenceSession.create(bytes, options), spec)
  }

  /** @param {Runtime} runtime @param {Session} session @param {Spec} spec */
  constructor(runtime, session, spec) {
    this.spec = spec
    this.sampleRate = spec.stft.sample_rate_hz
    this.#runtime = runtime
    this.#session = session
  }

  #runtime
  #session

  /** Give the memory back. */
  release = () => this.#session.release()

  /**
   * Run the graph on one row of each input.
   *
   * @protected
   * @param {Record<string, Float32Array>} inputs by their names
   * @returns {Promise<Record<string, Float32Array>>} the outputs by theirs
   */
  async run(inputs) {
    const tensors = mapped(inputs, (row) => new this.#runtime.Tensor('float32', row, [1, row.length]))
    return mapped(await this.#session.run(tensors), (result) => {
      const row = /** @type {Float32Array} */ (result.data)
      result.dispose?.()
      return row
    })
  }
}

/**
 * @template T, U
 * @param {Record<string, T>} values
 * @param {(value: T) => U} change
 * @returns {Record<string, U>}
 */
const mapped = (values, change) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, change(value)]))

/**
 * Mix the noisy samples back in.
 *
 * @param {Float32Array} noisy
 * @param {Float32Array} enhanced as many; overwritten
 * @param {number} strength 0 (noisy) to 1 (enhanced)
 * @returns {Float32Array} `enhanced`
 */
export function mix(noisy, enhanced, strength) {
  if (!(strength >= 0 && strength <= 1))
    throw new RangeError(`strength is ${strength}; it must be 0 to 1`)
  if (strength < 1)
    for (let n = 0; n < enhanced.length; n++)
      enhanced[n] = noisy[n] + strength * (enhanced[n] - noisy[n])
  return enhanced
}

/** Refuse samples that no model can take. @param {Float32Array} samples */
export function checkSamples(samples) {
  if (!(samples instanceof Float32Array))
    throw new TypeError('samples must be a Float32Array')
  const loudest = 1e9 // full scale is 1; squares of much more overflow
  const bad = samples.findIndex((value) => !(Math.abs(value) <= loudest))
  if (bad >= 0) throw new RangeError(`sample ${bad} is ${samples[bad]}; scale samples to +-1`)
}
