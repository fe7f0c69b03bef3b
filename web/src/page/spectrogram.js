/** Spectrograms on a canvas: time to the right, frequency up, level as colour. */

const SIZE = 512
const FLOOR_DB = -90 // of a full-scale tone; darkest
const TOP_DB = -15 // brightest
const COLOURS = [[10, 14, 32], [44, 26, 92], [120, 36, 118], [206, 72, 88], [246, 148, 70], [252, 240, 190]]

const HANN = Float64Array.from({ length: SIZE }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / SIZE))
const PALETTE = Array.from({ length: 256 }, (_, level) => {
  const at = (level / 255) * (COLOURS.length - 1)
  const [from, to] = [COLOURS[Math.floor(at)], COLOURS[Math.ceil(at)]]
  return from.map((value, c) => value + (at - Math.floor(at)) * (to[c] - value))
})

/**
 * Transform in place, by the rule of Cooley and Tukey; the size is a power of two.
 *
 * @param {Float64Array} real
 * @param {Float64Array} imag
 */
function fft(real, imag) {
  const size = real.length
  for (let n = 1, reversed = 0; n < size; n++) {
    let bit = size >> 1
    for (; reversed & bit; bit >>= 1) reversed ^= bit
    reversed ^= bit
    if (n < reversed) [real[n], real[reversed]] = [real[reversed], real[n]] // imag is zero
  }
  for (let half = 1; half < size; half *= 2)
    for (let k = 0; k < half; k++) {
      const [cos, sin] = [Math.cos((Math.PI * k) / half), -Math.sin((Math.PI * k) / half)]
      for (let n = k; n < size; n += 2 * half) {
        const re = real[n + half] * cos - imag[n + half] * sin
        const im = real[n + half] * sin + imag[n + half] * cos
        ;[real[n + half], imag[n + half]] = [real[n] - re, imag[n] - im]
        ;[real[n], imag[n]] = [real[n] + re, imag[n] + im]
      }
    }
}

/**
 * Draw a recording.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number} length of the recording in samples
 * @param {(n: number) => number} sample gives a sample of the recording
 */
export function drawSpectrogram(canvas, length, sample) {
  const pixels = Math.round(canvas.clientWidth * devicePixelRatio)
  const columns = Math.max(1, Math.min(pixels, Math.ceil(length / 64)))
  const image = new ImageData(columns, SIZE / 2)
  for (let column = 0; column < columns; column++) {
    const middle = Math.round(((column + 0.5) / columns) * length)
    const real = HANN.map((weight, n) => {
      const at = middle - SIZE / 2 + n
      return at >= 0 && at < length ? weight * sample(at) : 0
    })
    const imag = new Float64Array(SIZE)
    fft(real, imag)
    for (let bin = 0; bin < SIZE / 2; bin++) {
      const amplitude = Math.hypot(real[bin], imag[bin]) / (SIZE / 4)
      const level = (20 * Math.log10(amplitude + 1e-9) - FLOOR_DB) / (TOP_DB - FLOOR_DB)
      const colour = PALETTE[Math.round(255 * Math.min(1, Math.max(0, level)))]
      image.data.set([...colour, 255], 4 * ((SIZE / 2 - 1 - bin) * columns + column))
    }
  }
  const unscaled = new OffscreenCanvas(columns, SIZE / 2)
  unscaled.getContext('2d')?.putImageData(image, 0, 0)
  canvas.width = pixels
  canvas.height = Math.round(canvas.clientHeight * devicePixelRatio)
  canvas.getContext('2d')?.drawImage(unscaled, 0, 0, canvas.width, canvas.height)
}
