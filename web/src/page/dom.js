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

/**
 * Write a text, but only where it changed: a screen reader speaks what is written.
 *
 * @param {string} id
 * @param {string} text
 */
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
  block(id).classList.toggle('error', kind === 'error')
  block(id).classList.toggle('warning', kind === 'warning')
}

/**
 * Show how far a task is; without a share the bar only moves.
 *
 * @param {string} id
 * @param {number} [share] 0 to 1
 */
export function bar(id, share) {
  const progress = element(id, HTMLProgressElement)
  if (share === undefined) progress.removeAttribute('value')
  else progress.value = share
}

/**
 * Follow a slider of percents, and write its value beside it.
 *
 * @param {string} id
 * @param {(share: number) => void} changed gets 0 to 1
 */
export function onPercent(id, changed) {
  const slider = input(id)
  slider.addEventListener('input', () => {
    write(`${id}-value`, `${slider.value} %`)
    changed(Number(slider.value) / 100)
  })
}

/** Offer bytes as a file. @param {Uint8Array<ArrayBuffer>} wav */
export const wavUrl = (wav) => URL.createObjectURL(new Blob([wav], { type: 'audio/wav' }))
