/** Small helpers over the page's elements. */

/**
 * The element of an id, checked to be what the caller takes it for.
 *
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function element(id, kind) {
  const found = document.getElementById(id)
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`)
  return found
}

export const button = (/** @type {string} */ id) => element(id, HTMLButtonElement)
export const input = (/** @type {string} */ id) => element(id, HTMLInputElement)
export const canvas = (/** @type {string} */ id) => element(id, HTMLCanvasElement)
export const block = (/** @type {string} */ id) => element(id, HTMLElement)

/** Write a text where it changed: a screen reader speaks what is written. @param {string} id @param {string} text */
export function write(id, text) {
  const target = block(id)
  if (target.textContent !== text) target.textContent = text
}

/**
 * Show a problem or a warning, or hide it with no text.
 *
 * @param {string} id
 * @param {string} [text]
 * @param {'error' | 'warning'} [kind]
 */
export function message(id, text = '', kind = 'error') {
  write(id, text)
  block(id).hidden = !text
  block(id).className = `message ${kind}`
}

/** Show how far a task is; without a share the bar only moves. @param {string} id @param {number} [share] 0 to 1 */
export function bar(id, share) {
  const progress = element(id, HTMLProgressElement)
  if (share === undefined) progress.removeAttribute('value')
  else progress.value = share
}

/** The value of a slider of percents, 0 to 1. @param {string} id */
export const share = (id) => input(id).valueAsNumber / 100

/** Follow a slider of percents, and write its value beside it. @param {string} id @param {() => void} changed */
export function onPercent(id, changed) {
  input(id).oninput = () => {
    write(`${id}-value`, `${input(id).value} %`)
    changed()
  }
}

/** The address of a WAV file for a link. @param {Uint8Array<ArrayBuffer>} wav */
export const wavUrl = (wav) => URL.createObjectURL(new Blob([wav], { type: 'audio/wav' }))
