/** Builds web/dist: plain static files that run under any folder, with nothing fetched from elsewhere. */

import { cp, readFile, rm, writeFile } from 'node:fs/promises'

const here = (/** @type {string} */ path) => new URL(path, import.meta.url)
const ORT = ['ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm']
const MODELS = ['default-waveform.onnx', 'live.onnx']

await rm(here('dist'), { recursive: true, force: true })
await cp(here('src'), here('dist'), { recursive: true })
for (const file of ORT) await cp(here(`node_modules/onnxruntime-web/dist/${file}`), here(`dist/ort/${file}`))
for (const file of MODELS) await cp(here(`../fsnp_onnx/models/${file}`), here(`dist/models/${file}`))

// A browser knows paths only, not the names of packages.
const worker = await readFile(here('dist/page/worker.js'), 'utf8')
await writeFile(here('dist/page/worker.js'), worker.replace('onnxruntime-web/wasm', '../ort/ort.wasm.min.mjs'))
