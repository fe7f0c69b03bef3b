// Enhance a WAV file with a waveform file, every channel by itself:
//
//     node enhance.mjs default-waveform.onnx NOISY.wav CLEAN.wav
import { readFile, writeFile } from 'node:fs/promises'
import { Enhancer, readWav, writeWav } from 'fsnp-onnx'
import ort from 'onnxruntime-node'

async function enhance(model, noisyPath, cleanPath) {
  const enhancer = await Enhancer.create(ort, await readFile(model))
  const noisy = readWav(await readFile(noisyPath))
  if (noisy.sampleRate !== enhancer.sampleRate)
    throw new Error(
      `${noisyPath} has ${noisy.sampleRate} Hz; convert it to ${enhancer.sampleRate} Hz, which the model takes`)
  const clean = []
  for (const samples of noisy.channels) clean.push(await enhancer.enhance(samples))
  await writeFile(cleanPath, writeWav(clean, noisy.sampleRate))
}

const paths = process.argv.slice(2)
if (paths.length !== 3) {
  console.error('usage: node enhance.mjs MODEL NOISY.wav CLEAN.wav')
  process.exit(2)
}
await enhance(...paths).catch((error) => {
  console.error(`error: ${error.message}`)
  process.exitCode = 1
})
