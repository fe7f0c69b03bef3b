/** Plays a recording before and after at once; which one is heard is a matter of two gains. */

const FADE_S = 0.005 // time constant: a step would click

export class Player {
  /** @param {BaseAudioContext} context @param {AudioBuffer} noisy @param {AudioBuffer} enhanced */
  constructor(context, noisy, enhanced) {
    this.context = context
    this.duration = noisy.duration
    this.playing = false
    this.onended = () => {}
    this.#buffers = [noisy, enhanced]
    this.#gains = this.#buffers.map(() => new GainNode(context))
    for (const gain of this.#gains) gain.connect(context.destination)
    this.#gains[0].gain.value = 0
  }

  #buffers
  #gains
  #offset = 0 // seconds into the recording at #begun
  #begun = 0 // time of the context
  /** @type {AudioBufferSourceNode[]} */
  #sources = []

  /** Seconds into the recording. */
  get position() {
    const since = this.playing ? this.context.currentTime - this.#begun : 0
    return Math.min(this.#offset + since, this.duration)
  }

  /** Say how much of the enhanced samples is heard; the rest is noisy ones. @param {number} share 0 to 1 */
  set enhancedShare(share) {
    for (const [index, { gain }] of this.#gains.entries())
      gain.setTargetAtTime(index ? share : 1 - share, this.context.currentTime, FADE_S)
  }

  play() {
    if (this.playing) return
    if (this.#offset >= this.duration) this.#offset = 0
    this.#begun = this.context.currentTime
    this.#sources = this.#buffers.map((buffer, index) => {
      const source = new AudioBufferSourceNode(this.context, { buffer })
      source.connect(this.#gains[index])
      source.start(this.#begun, this.#offset)
      return source
    })
    this.#sources[0].onended = () => {
      this.pause()
      this.onended()
    }
    this.playing = true
  }

  pause() {
    this.#offset = this.position
    this.playing = false
    for (const source of this.#sources) {
      source.onended = null
      source.stop()
      source.disconnect()
    }
    this.#sources = []
  }

  /** @param {number} position in seconds */
  seek(position) {
    const { playing } = this
    this.pause()
    this.#offset = position
    if (playing) this.play()
  }
}
