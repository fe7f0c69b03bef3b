/** The live tab: microphone, worklet, worker, headphones. */

import { writeWav } from '../core/wav.js'
import { bar, block, button, element, input, message, onPercent, share, wavUrl, write } from './dom.js'
import { Engine } from './engine.js'
import { closeMicrophone, openMicrophone } from './microphone.js'

const RECORDED_S = 600 // at most; it lies in memory
const SHOWN_EVERY_MS = 250
const GAPS_MS = 10_000 // gaps of this last time say that the device is too slow

/** @typedef {{sampleRate: number, hop: number, latency: number, hops: number}} Device */
/** @typedef {{levels: number[], latency: number, seconds: number, playing: boolean, gaps: number}} Report */

const engine = new Engine()
/** @type {AbortController | undefined} */
let running
let sendStrength = () => {}

export function startLiveTab() {
  button('live-start').onclick = () => (running ? end() : start())
  onPercent('live-strength', () => sendStrength()) // another one for each start
}

async function start() {
  running = new AbortController()
  const { signal } = running
  const fail = (/** @type {Error} */ error) => signal.aborted || end(error)
  message('live-message')
  block('live-downloads').hidden = true
  input('live-record').disabled = true
  write('live-start', 'Stop')
  await run(signal, fail).catch(fail)
}

/** End what runs, and say why if it was not the user. @param {Error} [problem] */
function end(problem) {
  running?.abort()
  running = undefined
  sendStrength = () => {}
  message('live-message', problem?.message)
  block('live-bar').hidden = true
  input('live-record').disabled = false
  write('live-start', 'Start')
  write('live-status', 'The microphone is off.')
}

/** @param {AbortSignal} signal @param {(error: Error) => void} fail */
async function run(signal, fail) {
  write('live-status', 'Opening the microphone')
  const microphone = await openMicrophone()
  const close = () => closeMicrophone(microphone)
  if (signal.aborted) return close()
  signal.addEventListener('abort', close)
  microphone.getTracks()[0].onended = () => fail(new Error('The microphone was disconnected.'))
  const device = await measured(signal)
  const context = new AudioContext({ sampleRate: device.sampleRate, latencyHint: 'interactive' })
  signal.addEventListener('abort', () => context.close())
  await context.audioWorklet.addModule(new URL('./worklet.js', import.meta.url))
  signal.throwIfAborted()
  const worklet = new AudioWorkletNode(context, 'live', {
    channelCount: 1,
    channelCountMode: 'explicit',
    processorOptions: { block: device.hops * device.hop, record: input('live-record').checked },
  })
  connect(context, worklet, microphone)
  signal.addEventListener('abort', showReports(context, worklet, device))
  startWorker(worklet, signal).catch(fail)
  await context.resume()
}

/** Measure how fast this device is. @param {AbortSignal} signal @returns {Promise<Device>} */
async function measured(signal) {
  const onProgress = (/** @type {import('./engine.js').Progress} */ progress) => {
    write('live-status', progress.text)
    bar('live-bar', progress.share || undefined)
  }
  block('live-bar').hidden = false
  const device = await engine.run(signal, 'measureLive', {}, { onProgress })
  block('live-bar').hidden = true
  write('live-status', 'The sound is on its way.')
  return device
}

/** @param {AudioContext} context @param {AudioWorkletNode} worklet @param {MediaStream} microphone */
function connect(context, worklet, microphone) {
  try {
    context.createMediaStreamSource(microphone).connect(worklet).connect(context.destination)
  } catch {
    throw new Error(`This browser does not open the microphone at ${context.sampleRate} Hz, the rate of ` +
      'the network. Chrome, Edge and Safari do.')
  }
}

/** @param {AudioWorkletNode} worklet @param {AbortSignal} signal */
function startWorker(worklet, signal) {
  const { port1, port2 } = new MessageChannel()
  worklet.port.postMessage({ worker: port2 }, [port2])
  sendStrength = () => worklet.port.postMessage({ strength: share('live-strength') })
  sendStrength()
  return engine.run(signal, 'live', { port: port1 }, { transfer: [port1] })
}

/** Returns what ends it. @param {AudioContext} context @param {AudioWorkletNode} worklet @param {Device} device */
function showReports(context, worklet, device) {
  /** @type {Record<'noisy' | 'enhanced', Float32Array[]>} */
  const recorded = { noisy: [], enhanced: [] }
  /** @type {{at: number, gaps: number}[]} */
  const past = []
  let shownAt = 0
  const show = (/** @type {Report} */ report) => {
    const at = performance.now()
    report.levels.forEach((level, index) => showLevel(index ? 'level-out' : 'level-in', level))
    if (at - shownAt < SHOWN_EVERY_MS) return
    shownAt = at
    past.push({ at, gaps: report.gaps })
    while (past[0].at < at - GAPS_MS) past.shift()
    showNumbers(context, device, report)
    showVerdict(device, report, report.gaps - past[0].gaps)
  }
  worklet.port.onmessage = ({ data }) => {
    if (data.levels) show(data)
    else if (recorded.noisy.length * data.noisy.length < RECORDED_S * device.sampleRate) {
      recorded.noisy.push(data.noisy)
      recorded.enhanced.push(data.enhanced)
    }
  }
  return () => {
    worklet.port.onmessage = null
    for (const id of ['level-in', 'level-out']) showLevel(id, 0)
    if (recorded.noisy.length) offerDownloads(recorded, device.sampleRate)
  }
}

/** @param {string} id @param {number} level root mean square, full scale is 1 */
function showLevel(id, level) {
  const db = Math.round(Math.max(-60, 20 * Math.log10(level + 1e-9)))
  block(id).ariaValueNow = String(db)
  block(id).querySelector('i')?.style.setProperty('width', `${Math.min(100, (100 * (db + 60)) / 60)}%`)
  write(`${id}-value`, level ? `${db} dB`.replace('-', '−') : '–')
}

const ms = (/** @type {number} */ seconds) => `${Math.round(1000 * seconds)} ms`

/** @param {AudioContext} context @param {Device} device @param {Report} report */
function showNumbers(context, { sampleRate, hop, latency, hops }, report) {
  const output = context.outputLatency || context.baseLatency
  const inside = report.latency / sampleRate
  const sound = (hops * hop) / sampleRate
  write('latency', report.playing ? ms(inside + output) : '–')
  write('latency-parts', `${ms(latency / sampleRate)} network, ` +
    (report.playing ? `${ms(inside - latency / sampleRate)} buffers, ` : '') + `${ms(output)} output device`)
  write('load', `${Math.round((100 * report.seconds) / sound)} %`)
  write('load-parts', `${ms(report.seconds)} for ${ms(sound)} of sound`)
  write('gaps', String(report.gaps))
}

/** @param {Device} device @param {Report} report @param {number} gaps of the last seconds */
function showVerdict({ sampleRate, hop, hops }, { playing, seconds }, gaps) {
  const slow = seconds > (hops * hop) / sampleRate
  if (slow || gaps > 3)
    message('live-message', 'This device is too slow just now: the sound has gaps. ' +
      'Close other programs, or enhance a recording in the other tab.', 'warning')
  else if (!gaps) message('live-message')
  if (playing) write('live-status', 'You hear what the microphone hears, with less noise.')
}

/** @param {Record<'noisy' | 'enhanced', Float32Array[]>} recorded @param {number} rate */
function offerDownloads(recorded, rate) {
  for (const name of /** @type {const} */ (['noisy', 'enhanced'])) {
    const link = element(`live-${name}`, HTMLAnchorElement)
    URL.revokeObjectURL(link.href)
    const samples = new Float32Array(recorded[name].length * recorded[name][0].length)
    recorded[name].forEach((part, index) => samples.set(part, index * part.length))
    link.href = wavUrl(writeWav([samples], rate))
  }
  block('live-downloads').hidden = false
}
