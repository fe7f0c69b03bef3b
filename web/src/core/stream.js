import { readSpecOf } from './metadata.js'
import { checkSamples, mix, taken } from './runtime.js'

/** @import { Runtime, Session } from './runtime.js' */
/** @import { Spec } from './metadata.js' */

const HOPS_PER_RUN = 64 // at most: as fast as longer runs, and in little memory

/**
 * Enhances sound as it comes, with a file of the interface 'stream'. Memory is constant. Await each
 * call before the next one.
 */
export class LiveStream {
  /**
   * Open a file and begin a stream.
   *
   * @param {Runtime} runtime onnxruntime-web or onnxruntime-node
   * @param {Uint8Array} bytes the file
   * @param {object} [options] session options of the runtime
   * @returns {Promise<LiveStream>}
   * @throws {import('./metadata.js').ModelFileError} the file is not a stream file
   *
   * @example
   * const stream = await LiveStream.create(ort, await readFile('live.onnx'))
   * for (const chunk of chunks) play(await stream.process(chunk))
   * play(await stream.flush())
   */
  static async create(runtime, bytes, options = {}) {
    const spec = readSpecOf(bytes, 'stream')
    return new LiveStream(runtime, await runtime.InferenceSession.create(bytes, options), spec)
  }

  /** @param {Runtime} runtime @param {Session} session @param {Spec} spec */
  constructor(runtime, session, spec) {
    this.spec = spec
    this.sampleRate = spec.stft.sample_rate_hz
    /** Samples of one hop: what one run takes at least. */
    this.hop = spec.stft.hop_length
    /** How many samples later a sample comes out, the hop that it waits for included. */
    this.latency = (spec.latency_samples ?? 0) + this.hop
    /** 0 (the input, late) to 1 (enhanced); may change at any time. */
    this.strength = 1
    this.#runtime = runtime
    this.#session = session
    this.reset()
  }

  #runtime
  #session
  /** @type {Float32Array} */
  #state = new Float32Array()
  #partial = new Float32Array() // the hop that is not complete
  #waiting = new Float32Array() // noisy samples whose enhanced ones have not come
  #early = 0 // samples of the model's output that are still before the recording's first

  /** Forget the input so far and begin anew. */
  reset() {
    this.#state = new Float32Array(this.spec.state?.size ?? 0)
    this.#partial = new Float32Array()
    this.#waiting = new Float32Array()
    this.#early = this.spec.latency_samples ?? 0
  }

  /**
   * Take the next samples of the input and return the next of the output.
   *
   * @param {Float32Array} samples at `sampleRate`, any number, also none
   * @returns {Promise<Float32Array>} any number; with `flush`, as many come out as went in
   */
  async process(samples) {
    checkSamples(samples)
    this.#waiting = joined(this.#waiting, samples)
    return this.#matched(await this.#advance(samples))
  }

  /**
   * Return the rest of the output, as if silence followed, and begin anew.
   *
   * @returns {Promise<Float32Array>}
   */
  async flush() {
    const rest = this.#matched(await this.#advance(new Float32Array(this.latency)))
    this.reset()
    return rest
  }

  /** Give the memory back. */
  release = () => this.#session.release()

  /**
   * Run the whole hops that there are and return what comes out of the model.
   *
   * @param {Float32Array} samples
   */
  async #advance(samples) {
    const noisy = joined(this.#partial, samples)
    const whole = noisy.length - (noisy.length % this.hop)
    const output = new Float32Array(whole)
    const step = HOPS_PER_RUN * this.hop
    for (let at = 0; at < whole; at += step)
      output.set(await this.#run(noisy.subarray(at, Math.min(at + step, whole))), at)
    this.#partial = noisy.slice(whole)
    const early = Math.min(this.#early, whole)
    this.#early -= early
    return output.subarray(early)
  }

  /** @param {Float32Array} hops */
  async #run(hops) {
    const { spec } = this
    const { Tensor } = this.#runtime
    const state = /** @type {NonNullable<typeof spec.state>} */ (spec.state)
    const results = await this.#session.run({
      [spec.inputs[0].name]: new Tensor('float32', hops, [1, hops.length]),
      [state.input]: new Tensor('float32', this.#state, [1, state.size]),
    })
    this.#state = taken(results[state.output])
    return taken(results[spec.outputs[0].name])
  }

  /** Drop what lies behind the input, and mix the input in. @param {Float32Array} output */
  #matched(output) {
    const size = Math.min(output.length, this.#waiting.length)
    const enhanced = mix(this.#waiting, output.slice(0, size), this.strength)
    this.#waiting = this.#waiting.slice(size)
    return enhanced
  }
}

/** @param {Float32Array} first @param {Float32Array} second */
function joined(first, second) {
  const both = new Float32Array(first.length + second.length)
  both.set(first)
  both.set(second, first.length)
  return both
}
