/**
 * Builds the page into dist, or a folder that is named: plain static files that run under any folder,
 * with nothing fetched from elsewhere.
 */

import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'

const here = (/** @type {string} */ path) => new URL(path, import.meta.url)
const built = process.argv[2] ? pathToFileURL(`${process.argv[2]}/`) : here('dist/')
const at = (/** @type {string} */ path) => new URL(path, built)
const ORT = ['ort.wasm.min.mjs', 'ort-wasm-simd-threaded.mjs', 'ort-wasm-simd-threaded.wasm']
const MODELS = ['default-waveform.onnx', 'live.onnx']

await rm(built, { recursive: true, force: true })
await cp(here('src'), built, { recursive: true })
for (const file of ORT) await cp(here(`node_modules/onnxruntime-web/dist/${file}`), at(`ort/${file}`))
for (const file of MODELS) await cp(here(`../fsnp_onnx/models/${file}`), at(`models/${file}`))

// A browser knows paths only, not the names of packages.
const worker = await readFile(at('page/worker.js'), 'utf8')
await writeFile(at('page/worker.js'), worker.replace('onnxruntime-web/wasm', '../ort/ort.wasm.min.mjs'))
