// Enhance speech as it comes, with a stream file: 16-bit samples of one channel at the model's rate.
//
//     arecord -q -t raw -f S16_LE -r 16000 | node live.mjs live.onnx | aplay -q -t raw -f S16_LE -r 16000
import { readFile } from 'node:fs/promises'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { LiveStream } from 'fsnp-onnx'
import ort from 'onnxruntime-node'

const toSamples = (bytes) =>
  Float32Array.from({ length: bytes.length / 2 }, (_, n) => bytes.readInt16LE(2 * n) / 32768)

function toBytes(samples) {
  const bytes = Buffer.alloc(2 * samples.length)
  samples.forEach((sample, n) => {
    bytes.writeInt16LE(Math.max(-32768, Math.min(32767, Math.round(sample * 32768))), 2 * n)
  })
  return bytes
}

/** A Transform stream around a live stream: noisy bytes in, enhanced bytes out. */
export function enhancing(live) {
  let half = Buffer.alloc(0) // of a sample, where a chunk ends within one
  return new Transform({
    transform(chunk, _encoding, done) {
      const bytes = Buffer.concat([half, chunk])
      const whole = bytes.length - (bytes.length % 2)
      half = bytes.subarray(whole)
      live.process(toSamples(bytes.subarray(0, whole))).then((clean) => done(null, toBytes(clean)), done)
    },
    flush(done) {
      live.flush().then((clean) => done(null, toBytes(clean)), done)
    },
  })
}

async function main(model) {
  const live = await LiveStream.create(ort, await readFile(model), { intraOpNumThreads: 1 })
  const late = Math.round((1000 * live.latency) / live.sampleRate)
  console.error(`one channel, 16 bits, ${live.sampleRate} Hz; the output is late by ${late} ms`)
  await pipeline(process.stdin, enhancing(live), process.stdout)
}

if (process.argv.length !== 3) {
  console.error('usage: node live.mjs MODEL < NOISY.s16 > CLEAN.s16')
  process.exit(2)
}
await main(process.argv[2]).catch((error) => {
  console.error(`error: ${error.message}`)
  process.exitCode = 1
})
