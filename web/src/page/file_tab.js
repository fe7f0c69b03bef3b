/** The tab for recordings: from a file or the microphone to a comparison and a download. */

import { mix } from '../core/model.js'
import { writeWav } from '../core/wav.js'
import { bar, block, button, canvas, input, message, onPercent, share, wavUrl, write } from './dom.js'
import { Engine } from './engine.js'
import { closeMicrophone, openMicrophone } from './microphone.js'
import { Player } from './player.js'
import { drawSpectrogram } from './spectrogram.js'

const WHOLE_S = 300 // longer recordings run in pieces: a whole one needs memory and has no progress

const engine = new Engine()
/** @typedef {{name: string, noisy: AudioBuffer, enhanced: AudioBuffer}} Pair */
/** @type {Pair | undefined} */
let shown
/** @type {AudioContext | undefined} */
let context
/** @type {Player | undefined} */
let player
/** @type {MediaRecorder | undefined} */
let recorder
let job = new AbortController()
let timer = 0

export function startFileTab() {
  input('choose').onchange = () => {
    const [file] = input('choose').files ?? []
    if (file) enhance(file)
    input('choose').value = '' // the same file may be chosen again
  }
  acceptDrops()
  button('record').onclick = () => (recorder ? recorder.stop() : record().catch(problem))
  button('cancel').onclick = () => {
    begin()
    input('choose').focus() // the button is gone
  }
  button('play').onclick = togglePlay
  button('download').onclick = download
  for (const id of ['listen-before', 'listen-after']) input(id).onchange = listen
  onPercent('strength', () => {
    listen()
    requestAnimationFrame(drawAfter)
  })
  input('position').oninput = () => {
    player?.seek(input('position').valueAsNumber)
    showPosition()
  }
  addEventListener('resize', draw)
}

function acceptDrops() {
  document.ondragover = (event) => {
    event.preventDefault()
    block('drop').classList.add('over')
  }
  document.ondragleave = () => block('drop').classList.remove('over')
  document.ondrop = (event) => {
    event.preventDefault()
    block('drop').classList.remove('over')
    const [file] = event.dataTransfer?.files ?? []
    if (file && !block('file').hidden) enhance(file)
  }
}

async function record() {
  message('file-message')
  button('record').disabled = true // until the browser has asked
  const microphone = await openMicrophone().finally(() => (button('record').disabled = false))
  /** @type {Blob[]} */
  const parts = []
  recorder = new MediaRecorder(microphone)
  recorder.ondataavailable = ({ data }) => parts.push(data)
  recorder.onstop = () => {
    closeMicrophone(microphone)
    recorder = undefined
    write('record', 'Record')
    enhance(new File(parts, 'recording'))
  }
  recorder.start()
  write('record', 'Stop recording')
}

const problem = (/** @type {Error} */ error) => message('file-message', error.message)

/** Clear the tab for the next job; what belongs to the one before is over. */
function begin() {
  job.abort()
  job = new AbortController()
  player?.pause()
  clearInterval(timer)
  message('file-message')
  block('result').hidden = true
  block('work').hidden = true
  return job.signal
}

/** @param {File} file */
async function enhance(file) {
  const signal = begin()
  block('work').hidden = false
  try {
    const { pair, whole } = await enhanced(file, signal)
    begin()
    showResult(pair, whole)
  } catch (error) {
    if (signal.aborted) return
    begin()
    problem(/** @type {Error} */ (error))
  }
}

/** @param {File} file @param {AbortSignal} signal */
async function enhanced(file, signal) {
  let rate = await engine.run(signal, 'rate', { whole: true }, { onProgress })
  let noisy = await decoded(file, rate, signal)
  const whole = noisy.duration <= WHOLE_S
  if (!whole) {
    rate = await engine.run(signal, 'rate', { whole }, { onProgress })
    if (rate !== noisy.sampleRate) noisy = await decoded(file, rate, signal)
  }
  const channels = channelsOf(noisy)
  const result = await engine.run(signal, 'enhance', { channels, whole }, { onProgress })
  const enhanced = new AudioBuffer(noisy) // of the same rate, length and number of channels
  for (const [channel, samples] of result.entries()) enhanced.copyToChannel(samples, channel)
  return { pair: { name: file.name.replace(/\.[^.]*$/, ''), noisy, enhanced }, whole }
}

/** Ask each time: playing may take the memory of the samples. @param {AudioBuffer} buffer */
const channelsOf = (buffer) =>
  Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel))

/** @param {import('./engine.js').Progress} progress */
function onProgress({ text, share, expected }) {
  clearInterval(timer)
  write('work-text', text)
  write('work-share', share ? `${Math.round(100 * share)} %` : '')
  bar('work-bar', share || undefined)
  if (!expected) return
  const begun = performance.now()
  timer = setInterval(() => {
    const passed = Math.min(0.99, (performance.now() - begun) / 1000 / expected)
    write('work-share', `about ${Math.ceil((1 - passed) * expected)} s left`)
    bar('work-bar', passed)
  }, 500)
}

/** Decode a sound file at the rate of a model. @param {File} file @param {number} rate in Hz @param {AbortSignal} signal */
async function decoded(file, rate, signal) {
  write('work-text', 'Reading the recording')
  write('work-share', '')
  bar('work-bar')
  const bytes = await file.arrayBuffer()
  const buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes).catch(() => {
    throw new Error(`${file.name} cannot be decoded. It is damaged, or not a sound file that this ` +
      'browser knows; WAV, FLAC and MP3 work in every browser.')
  })
  signal.throwIfAborted()
  if (!buffer.length) throw new Error(`${file.name} holds no sound.`)
  return buffer
}

/** @param {Pair} recording @param {boolean} whole */
function showResult(recording, whole) {
  shown = recording
  const { name, noisy, enhanced } = recording
  context ??= new AudioContext()
  player = new Player(context, noisy, enhanced)
  player.onended = showPosition
  input('position').max = String(player.duration)
  write('result-name', name)
  write('result-note', (whole
    ? 'The offline network heard the whole recording at once. '
    : `Longer than ${WHOLE_S / 60} minutes, so the live network took it piece by piece. `) +
    `The result is sampled at ${noisy.sampleRate / 1000} kHz, as the network is.`)
  for (const id of ['top-before', 'top-after']) write(id, `${noisy.sampleRate / 2000} kHz`)
  block('result').hidden = false
  draw()
  listen()
  showPosition()
  block('result-name').focus()
}

function listen() {
  if (player) player.enhancedShare = input('listen-after').checked ? share('strength') : 0
}

async function togglePlay() {
  await context?.resume()
  if (player?.playing) player.pause()
  else player?.play()
  showPosition()
}

const clock = (/** @type {number} */ s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, '0')}`

function showPosition() {
  if (!player) return
  const { position, duration, playing } = player
  const time = `${clock(position)} of ${clock(duration)}`
  input('position').value = String(position)
  input('position').setAttribute('aria-valuetext', time)
  write('time', time)
  write('play', playing ? 'Pause' : 'Play')
  block('cursor').style.left = `${(100 * position) / duration}%`
  if (playing) requestAnimationFrame(showPosition)
}

function draw() {
  if (!shown || block('result').hidden) return
  const noisy = shown.noisy.getChannelData(0)
  drawSpectrogram(canvas('picture-before'), noisy.length, (n) => noisy[n])
  drawAfter()
}

function drawAfter() {
  if (!shown) return
  const [noisy, enhanced] = [shown.noisy, shown.enhanced].map((buffer) => buffer.getChannelData(0))
  const strength = share('strength')
  drawSpectrogram(canvas('picture-after'), noisy.length, (n) => noisy[n] + strength * (enhanced[n] - noisy[n]))
}

function download() {
  if (!shown) return
  const { name, noisy, enhanced } = shown
  const after = channelsOf(enhanced)
  const mixed = channelsOf(noisy).map((samples, c) => mix(samples, after[c].slice(), share('strength')))
  const link = document.createElement('a')
  link.href = wavUrl(writeWav(mixed, noisy.sampleRate))
  link.download = `${name}-enhanced.wav`
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000)
}
