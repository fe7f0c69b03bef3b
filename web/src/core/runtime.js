/** What this package needs of an ONNX runtime: onnxruntime-web and onnxruntime-node have it. */

/**
 * @typedef {{data: unknown, dispose?: () => void}} Result
 * @typedef {{run(feeds: Record<string, any>): Promise<Record<string, Result>>,
 *   release(): Promise<void>}} Session
 * @typedef {object} Runtime
 * @property {{create(bytes: Uint8Array, options?: object): Promise<Session>}} InferenceSession
 * @property {new (type: 'float32', data: Float32Array, dims: number[]) => any} Tensor
 */

/**
 * The samples of one result; the memory of the runtime is given back.
 *
 * @param {Result} result
 * @returns {Float32Array}
 */
export function taken(result) {
  const samples = /** @type {Float32Array} */ (result.data)
  result.dispose?.()
  return samples
}

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
