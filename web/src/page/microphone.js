/** The microphone, without what browsers do to it, and plain words where there is none. */

/** @type {Record<string, string>} by the name of the browser's error */
const PROBLEMS = {
  NotAllowedError: 'The browser may not use the microphone. Allow it in the address bar or in the settings of the site, then try again.',
  NotFoundError: 'No microphone was found. Connect one, then try again.',
  NotReadableError: 'The microphone cannot be opened. Another program may be using it.',
}

/** @returns {Promise<MediaStream>} */
export async function openMicrophone() {
  if (!navigator.mediaDevices)
    throw new Error('Browsers open the microphone only for pages from https or from this computer (localhost).')
  try {
    const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }
    return await navigator.mediaDevices.getUserMedia({ audio: { ...raw, channelCount: 1 } })
  } catch (error) {
    const { name, message } = /** @type {Error} */ (error)
    throw new Error(PROBLEMS[name] ?? `The microphone cannot be opened: ${message}`)
  }
}

/** @param {MediaStream} stream */
export function closeMicrophone(stream) {
  for (const track of stream.getTracks()) track.stop()
}
