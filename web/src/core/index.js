/**
 * Speech enhancement with exported FullSubNet+ files. The ONNX runtime is passed in: onnxruntime-web
 * in a browser, onnxruntime-node in Node. Nothing here knows a page or a file system.
 *
 * @module
 */
export { Enhancer } from './enhancer.js'
export { ModelFileError, readSpec } from './metadata.js'
export { LiveStream } from './stream.js'
export { readWav, WavError, writeWav } from './wav.js'
