/**
 * Carries sound between the audio device and the worker: it collects blocks, sends them, and plays
 * what comes back. It runs in the thread of the audio device, which must never wait.
 */

const REPORTS_PER_S = 20
const MOST_LATE_S = 1 // of sound on its way; then the device is too slow, and sound is left out
const PATIENCE_S = 0.016 // at first: the worker is not punctual

class Live extends AudioWorkletProcessor {
  /** @param {{processorOptions: {block: number, record: boolean}}} options */
  constructor({ processorOptions: { block, record } }) {
    super()
    this.record = record
    this.block = block
    this.filling = new Float32Array(block)
    this.filled = 0
    this.onTheirWay = 0 // samples that the worker has not answered
    this.queue = new Float32Array() // enhanced samples that are to be played
    this.captured = 0
    this.lost = 0 // samples that never came out
    this.played = 0
    this.playing = false
    this.patience = Math.round(PATIENCE_S * sampleRate) // samples that playing waits for once it could begin
    this.waited = 0
    this.gaps = 0
    this.seconds = 0
    this.sums = { noisy: 0, enhanced: 0, count: 0 }
    /** @type {MessagePort | undefined} */
    this.worker = undefined
    this.port.onmessage = ({ data }) => {
      if (data.worker) this.connect(data.worker)
      else this.worker?.postMessage(data) // the strength
    }
  }

  /** @param {MessagePort} worker */
  connect(worker) {
    this.worker = worker
    worker.onmessage = ({ data: { enhanced, taken, seconds } }) => {
      this.seconds += (seconds - this.seconds) * (this.seconds ? 0.1 : 1)
      this.onTheirWay -= taken
      const queue = new Float32Array(this.queue.length + enhanced.length)
      queue.set(this.queue)
      queue.set(enhanced, this.queue.length)
      this.queue = queue
      // After a wait, what was late comes all at once. Leave it out: the latency must not stay.
      const late = queue.length - this.block - this.patience
      if (late <= 2 * this.block) return
      this.take(late)
      this.lost += late
      this.gaps++
    }
  }

  /** @param {Float32Array[][]} inputs @param {Float32Array[][]} outputs */
  process([[noisy = new Float32Array(128)]], [[enhanced]]) {
    if (!this.worker) return true
    this.send(noisy)
    this.play(enhanced)
    this.report(noisy, enhanced)
    return true
  }

  /** @param {Float32Array} noisy */
  send(noisy) {
    this.captured += noisy.length
    for (let at = 0; at < noisy.length; ) {
      const part = noisy.subarray(at, at + this.block - this.filled)
      this.filling.set(part, this.filled)
      this.filled += part.length
      at += part.length
      if (this.filled < this.block) continue
      if (this.onTheirWay > MOST_LATE_S * sampleRate) {
        this.lost += this.block
        this.gaps++
      } else {
        this.onTheirWay += this.block
        this.worker?.postMessage({ samples: this.filling.slice() })
      }
      this.filled = 0
    }
  }

  /** @param {Float32Array} enhanced */
  play(enhanced) {
    if (!this.playing) {
      if (this.queue.length >= this.block) this.waited += enhanced.length
      if (this.waited <= this.patience) return
      this.waited = 0
      this.playing = true
    }
    if (this.queue.length < enhanced.length) {
      this.playing = false
      this.gaps++
      this.patience = Math.min(this.patience + this.block, (MOST_LATE_S / 2) * sampleRate)
      return
    }
    this.played += enhanced.length
    enhanced.set(this.take(enhanced.length))
  }

  /** Take samples out of the queue, the oldest ones. @param {number} count */
  take(count) {
    const oldest = this.queue.subarray(0, count)
    this.queue = this.queue.subarray(count)
    return oldest
  }

  /** @param {Float32Array} noisy @param {Float32Array} enhanced */
  report(noisy, enhanced) {
    if (this.record) this.port.postMessage({ noisy: noisy.slice(), enhanced: enhanced.slice() })
    const { sums } = this
    for (const value of noisy) sums.noisy += value * value
    for (const value of enhanced) sums.enhanced += value * value
    sums.count += noisy.length
    if (sums.count < sampleRate / REPORTS_PER_S) return
    this.port.postMessage({
      levels: [sums.noisy, sums.enhanced].map((sum) => Math.sqrt(sum / sums.count)),
      latency: this.captured - this.lost - this.played,
      seconds: this.seconds,
      playing: this.playing,
      gaps: this.gaps,
    })
    this.sums = { noisy: 0, enhanced: 0, count: 0 }
  }
}

registerProcessor('live', Live)
