import { checkSamples, mix, Model } from './model.js'

/**
 * Enhances whole recordings with a file of the interface 'waveform'.
 *
 * @example
 * const enhancer = await Enhancer.create(ort, await readFile('default-waveform.onnx'))
 * const clean = await enhancer.enhance(noisy)
 */
export class Enhancer extends Model {
  static interface = /** @type {const} */ ('waveform')

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
    const { enhanced } = await this.run({ noisy: samples })
    return mix(samples, enhanced, strength)
  }
}
