import { checkSamples, mix, Model } from './model.js'

const HOPS_PER_RUN = 64 // at most: as fast as longer runs, and in little memory

/**
 * Enhances sound as it comes, with a file of the interface 'stream'. Memory is constant. Await each
 * call before the next one.
 *
 * @example
 * const stream = await LiveStream.create(ort, await readFile('live.onnx'))
 * for (const chunk of chunks) play(await stream.process(chunk))
 * play(await stream.flush())
 */
export class LiveStream extends Model {
  static interface = /** @type {const} */ ('stream')

  /** Samples of one hop: what one run takes at least. */
  hop = this.spec.stft.hop_length
  /** How many samples later a sample comes out, the hop that it waits for included. */
  latency = (this.spec.latency_samples ?? 0) + this.hop
  /** 0 (the input, late) to 1 (enhanced); may change at any time. */
  strength = 1

  #past = beginning(this.spec)

  /** Forget the input so far and begin anew. */
  reset() {
    this.#past = beginning(this.spec)
  }

  /**
   * Take the next samples of the input and return the next of the output.
   *
   * @param {Float32Array} samples at `sampleRate`, any number, also none
   * @returns {Promise<Float32Array>} any number; with `flush`, as many come out as went in
   */
  async process(samples) {
    checkSamples(samples)
    this.#past.waiting = joined(this.#past.waiting, samples)
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

  /**
   * Run the whole hops that there are and return what comes out of the model.
   *
   * @param {Float32Array} samples
   */
  async #advance(samples) {
    const noisy = joined(this.#past.partial, samples)
    const whole = noisy.length - (noisy.length % this.hop)
    const output = new Float32Array(whole)
    const step = HOPS_PER_RUN * this.hop
    for (let at = 0; at < whole; at += step)
      output.set(await this.#runHops(noisy.subarray(at, Math.min(at + step, whole))), at)
    this.#past.partial = noisy.slice(whole)
    const early = Math.min(this.#past.early, whole)
    this.#past.early -= early
    return output.subarray(early)
  }

  /** @param {Float32Array} noisy */
  async #runHops(noisy) {
    const state = /** @type {NonNullable<typeof this.spec.state>} */ (this.spec.state)
    const results = await this.run({ noisy, [state.input]: this.#past.state })
    this.#past.state = results[state.output]
    return results.enhanced
  }

  /** Drop what lies behind the input, and mix the input in. @param {Float32Array} output */
  #matched(output) {
    const { waiting } = this.#past
    const size = Math.min(output.length, waiting.length)
    this.#past.waiting = waiting.slice(size)
    return mix(waiting, output.slice(0, size), this.strength)
  }
}

/**
 * What a stream keeps from call to call.
 *
 * @typedef {object} Past
 * @property {Float32Array} state of the model
 * @property {Float32Array} partial the hop that is not complete
 * @property {Float32Array} waiting noisy samples whose enhanced ones have not come
 * @property {number} early samples of the model's output that are before the recording's first
 */

/** @param {import('./metadata.js').Spec} spec @returns {Past} */
const beginning = ({ state, latency_samples }) => ({
  state: new Float32Array(state?.size ?? 0),
  partial: new Float32Array(),
  waiting: new Float32Array(),
  early: latency_samples ?? 0,
})

/** @param {Float32Array} first @param {Float32Array} second */
function joined(first, second) {
  const both = new Float32Array(first.length + second.length)
  both.set(first)
  both.set(second, first.length)
  return both
}
