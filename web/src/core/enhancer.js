import { readSpecOf } from './metadata.js'
import { checkSamples, mix, taken } from './runtime.js'

/** @import { Runtime, Session } from './runtime.js' */
/** @import { Spec } from './metadata.js' */

/** Enhances whole recordings with a file of the interface 'waveform'. */
export class Enhancer {
  /**
   * Open a file.
   *
   * @param {Runtime} runtime onnxruntime-web or onnxruntime-node
   * @param {Uint8Array} bytes the file
   * @param {object} [options] session options of the runtime
   * @returns {Promise<Enhancer>}
   * @throws {import('./metadata.js').ModelFileError} the file is not a waveform file
   *
   * @example
   * const enhancer = await Enhancer.create(ort, await readFile('default-waveform.onnx'))
   * const clean = await enhancer.enhance(noisy)
   */
  static async create(runtime, bytes, options = {}) {
    const spec = readSpecOf(bytes, 'waveform')
    return new Enhancer(runtime, await runtime.InferenceSession.create(bytes, options), spec)
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

  /**
   * Enhance one channel of a recording. The level is kept.
   *
   * @param {Float32Array} samples at `sampleRate`, usually within +-1
   * @param {{strength?: number}} [options] strength: 0 (the input) to 1 (all noise removed)
   * @returns {Promise<Float32Array>} as many samples
   */
  async enhance(samples, { strength = 1 } = {}) {
    checkSamples(samples)
    if (samples.every((value) => value === 0)) return samples.slice() // silence stays silence
    const noisy = new this.#runtime.Tensor('float32', samples, [1, samples.length])
    const results = await this.#session.run({ [this.spec.inputs[0].name]: noisy })
    return mix(samples, taken(results[this.spec.outputs[0].name]), strength)
  }

  /** Give the memory back. */
  release = () => this.#session.release()
}
