/** Runs the models, away from the page, so that the page stays quick. */

import * as ort from 'onnxruntime-web/wasm'

import { Enhancer, LiveStream } from '../core/index.js'

/** @import { Progress } from './engine.js' */

ort.env.wasm.wasmPaths = new URL('../ort/', import.meta.url).href
ort.env.logLevel = 'error'

const HOPS_PER_RUN = [1, 2, 4, 8] // more are faster, and later
const WORKING = 'Removing noise'
const BUSY = 0.7 // of real time, at most: other programs run, too

const report = (/** @type {Progress} */ progress) => postMessage({ progress })

const wholeModel = once(() => opened('default-waveform.onnx', (bytes) => Enhancer.create(ort, bytes)))
const liveModel = once(() => opened('live.onnx', (bytes) => LiveStream.create(ort, bytes)))

/** @template T @param {() => Promise<T>} make @returns {() => Promise<T>} the same one every time */
function once(make) {
  /** @type {Promise<T> | undefined} */
  let made
  return () => (made ??= make())
}

/** @template T @param {string} file @param {(bytes: Uint8Array) => Promise<T>} open */
async function opened(file, open) {
  const bytes = await download(file)
  report({ text: 'Starting the model' })
  return open(bytes)
}

/** Fetch a model file and tell how far it is. @param {string} file */
async function download(file) {
  const text = 'Loading the model'
  report({ text })
  const response = await fetch(new URL(`../models/${file}`, import.meta.url)).catch(() => {
    throw new Error(`The model file models/${file} cannot be loaded: the server does not answer.`)
  })
  if (!response.ok || !response.body)
    throw new Error(`The model file models/${file} is missing on this server (status ${response.status}).`)
  const packed = response.headers.has('Content-Encoding') // then the length is not that of the file
  const total = packed ? 0 : Number(response.headers.get('Content-Length'))
  let size = 0
  const counted = response.body.pipeThrough(new TransformStream({
    transform(part, next) {
      size += part.length
      report({ text, share: total && size / total })
      next.enqueue(part)
    },
  }))
  return new Uint8Array(await new Response(counted).arrayBuffer())
}

/**
 * Enhance every channel as a whole, and tell how long that will probably take: a run of the network
 * tells nothing on its way.
 *
 * @param {Float32Array[]} channels
 */
async function enhanceWhole(channels) {
  const enhancer = await wholeModel()
  report({ text: WORKING })
  const size = channels[0].length
  const pilot = channels[0].slice(0, 2 * enhancer.sampleRate)
  if (size > 4 * pilot.length) {
    const begun = performance.now()
    await enhancer.enhance(pilot)
    const seconds = (performance.now() - begun) / 1000
    report({ text: WORKING, expected: (seconds * size * channels.length) / pilot.length })
  }
  const enhanced = []
  for (const samples of channels) enhanced.push(await enhancer.enhance(samples))
  return enhanced
}

/** Enhance every channel in pieces. @param {Float32Array[]} channels */
async function enhanceInPieces(channels) {
  const stream = await liveModel()
  const size = channels[0].length
  const step = stream.sampleRate // one second
  const enhanced = channels.map(() => new Float32Array(size))
  for (const [index, samples] of channels.entries()) {
    let written = 0
    stream.reset()
    const keep = (/** @type {Float32Array} */ part) => {
      enhanced[index].set(part, written)
      written += part.length
    }
    for (let at = 0; at < size; at += step) {
      keep(await stream.process(samples.subarray(at, at + step)))
      report({ text: WORKING, share: (index + Math.min(1, (at + step) / size)) / channels.length })
    }
    keep(await stream.flush())
  }
  return enhanced
}

/** Find how many hops one run takes so that this device keeps up. */
async function measureLive() {
  const stream = await liveModel()
  report({ text: 'Measuring this device' })
  stream.strength = 1
  const noiseOf = (/** @type {number} */ hops) =>
    new Float32Array(hops * stream.hop).map(() => 0.1 * (Math.random() - 0.5))
  await stream.process(noiseOf(64)) // a browser compiles better what has run often
  let hops = 1
  for (hops of HOPS_PER_RUN) {
    const noise = noiseOf(hops)
    const times = []
    for (let run = 0; run < 9; run++) {
      const begun = performance.now()
      await stream.process(noise)
      times.push((performance.now() - begun) / 1000)
    }
    const median = times.sort((a, b) => a - b)[4]
    if (median < (BUSY * noise.length) / stream.sampleRate) break
  }
  const { sampleRate, hop, latency } = stream
  return { sampleRate, hop, latency, hops }
}

/** Enhance what comes through a port, until the page ends this worker. @param {{port: MessagePort}} details */
async function live({ port }) {
  const stream = await liveModel()
  stream.reset()
  let turn = Promise.resolve()
  const enhanceNext = async (/** @type {Float32Array<ArrayBuffer>} */ samples) => {
    const begun = performance.now()
    const enhanced = await stream.process(samples)
    port.postMessage({ enhanced, taken: samples.length, seconds: (performance.now() - begun) / 1000 })
  }
  return new Promise((_, reject) => {
    port.onmessage = ({ data }) => {
      if (data.samples) turn = turn.then(() => enhanceNext(data.samples)).catch(reject)
      else stream.strength = data.strength
    }
  })
}

/** @type {Record<string, (details: any) => Promise<any>>} */
const TASKS = {
  rate: async ({ whole }) => (await (whole ? wholeModel() : liveModel())).sampleRate,
  enhance: ({ channels, whole }) => (whole ? enhanceWhole : enhanceInPieces)(channels),
  measureLive,
  live,
}

onmessage = async ({ data }) => {
  try {
    postMessage({ result: await TASKS[data.task](data) })
  } catch (error) {
    const known = error instanceof Error && !/memory|allocat/i.test(error.message) // else it is a number
    postMessage({ error: known ? error.message : 'The memory of this browser is not enough.' })
  }
}
