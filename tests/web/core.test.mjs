// The core by itself, with onnxruntime-web in Node: node --test tests/web/core.test.mjs
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'

import { Enhancer, LiveStream, ModelFileError, readSpec, readWav, WavError, writeWav } from '../../web/src/core/index.js'
import * as ort from '../../web/node_modules/onnxruntime-web/dist/ort.wasm.min.mjs'

ort.env.wasm.numThreads = 1

const file = (path) => readFile(new URL(`../../${path}`, import.meta.url))
const DELAY = await file('tests/data/delay.onnx') // half as loud, and two hops later
const WAVEFORM = await file('fsnp_onnx/models/default-waveform.onnx')

/** Samples that repeat from run to run. */
function noise(size) {
  let seed = 1
  return Float32Array.from({ length: size }, () => {
    seed = (seed * 16807) % 2147483647
    return seed / 2147483647 - 0.5
  })
}

test('the metadata of a stream file holds its state and its latency', () => {
  const spec = readSpec(DELAY)
  assert.equal(spec.interface, 'stream')
  assert.deepEqual(spec.state, { input: 'state', output: 'next_state', size: 512 })
  assert.equal(spec.latency_samples, 2 * spec.stft.hop_length)
})

test('a truncated file is refused at any length, with one clear line', () => {
  for (let size = 0; size < DELAY.length; size += 1)
    assert.throws(() => readSpec(DELAY.subarray(0, size)), ModelFileError)
})

test('other files are refused', async () => {
  const foreign = ['fsnp_onnx/models/overflow_probe.onnx', 'samples/hum_5db_noisy.flac', 'LICENSE']
  for (const path of foreign) {
    const bytes = await file(path)
    assert.throws(() => readSpec(bytes), ModelFileError, path)
  }
})

test('a file of a newer format is refused', () => {
  const at = DELAY.indexOf('"format": 2')
  const newer = DELAY.map((byte, n) => (n === at + 10 ? '9'.charCodeAt(0) : byte))
  assert.ok(at > 0)
  assert.throws(() => readSpec(newer), /has format 9; this version reads format 2/)
})

test('each class takes only files of its interface', async () => {
  await assert.rejects(Enhancer.create(ort, DELAY), /has the interface 'stream'; 'waveform' is needed/)
  await assert.rejects(LiveStream.create(ort, WAVEFORM), /'stream' is needed: export it with --interface/)
})

test('a stream returns every sample, whatever the chunks', async () => {
  const stream = await LiveStream.create(ort, DELAY)
  const noisy = noise(40000)
  for (const size of [1000, 1, 255, 256, 257, 20000, 40000]) {
    const input = size === 1 ? noisy.subarray(0, 700) : noisy
    const parts = []
    for (let at = 0; at < input.length; at += size) {
      parts.push(...(await stream.process(input.subarray(at, at + size))))
      assert.ok(parts.length <= Math.min(at + size, input.length))
      assert.ok(Math.min(at + size, input.length) - parts.length < stream.latency)
    }
    parts.push(...(await stream.flush()))
    assert.deepEqual(parts, [...input.map((value) => value / 2)])
  }
})

test('the strength of a stream mixes its input in, and may change on the way', async () => {
  const stream = await LiveStream.create(ort, DELAY)
  const noisy = noise(5120)
  stream.strength = 0
  const parts = [...(await stream.process(noisy.subarray(0, 2560)))]
  const first = parts.length
  stream.strength = 0.5
  parts.push(...(await stream.process(noisy.subarray(2560))), ...(await stream.flush()))
  assert.deepEqual(parts.slice(0, first), [...noisy.subarray(0, first)])
  assert.deepEqual(parts.slice(first), [...noisy.subarray(first).map((value) => value * 0.75)])
})

test('samples that would poison a state, and strengths out of range, are refused', async () => {
  const stream = await LiveStream.create(ort, DELAY)
  for (const bad of [NaN, Infinity, 1e30])
    await assert.rejects(stream.process(Float32Array.of(0, bad)), /sample 1 is .*; scale samples to \+-1/)
  await assert.rejects(stream.process([0, 0]), /must be a Float32Array/)
  stream.strength = 2
  await assert.rejects(stream.process(noise(2000)), /strength is 2; it must be 0 to 1/)
})

test('silence stays silence, and strength 0 returns the input', async () => {
  const enhancer = await Enhancer.create(ort, WAVEFORM)
  assert.deepEqual(await enhancer.enhance(new Float32Array(100)), new Float32Array(100))
  const noisy = noise(1000)
  assert.deepEqual(await enhancer.enhance(noisy, { strength: 0 }), noisy)
  await enhancer.release()
})

test('bytes that are not a WAV file are refused, also any beginning of one', () => {
  const wav = writeWav([noise(10)], 16000)
  for (let size = 0; size < 58; size++) assert.throws(() => readWav(wav.subarray(0, size)), WavError)
  assert.equal(readWav(wav.subarray(0, 66)).channels[0].length, 2) // a truncated one gives what is there
  assert.throws(() => readWav(DELAY), WavError)
})

test('samples go through a WAV file unchanged, above full scale too', () => {
  const channels = [noise(100), noise(100).map((value) => 10 * value)]
  assert.deepEqual(readWav(writeWav(channels, 44100)), { sampleRate: 44100, channels })
})
