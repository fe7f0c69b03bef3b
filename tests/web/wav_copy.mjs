// Reads a WAV file and writes what was read: node wav_copy.mjs IN OUT
import { readFile, writeFile } from 'node:fs/promises'

import { readWav, writeWav } from '../../web/src/core/index.js'

const [input, output] = process.argv.slice(2)
const { sampleRate, channels } = readWav(await readFile(input))
await writeFile(output, writeWav(channels, sampleRate))
