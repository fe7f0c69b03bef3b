/** The worker that runs the models, as seen by the page: one task at a time, which can be stopped. */

/**
 * How far a task is: what it does in words, the share of that which is done, and the seconds that
 * all of it will probably take.
 *
 * @typedef {{text: string, share?: number, expected?: number}} Progress
 */

export class Engine {
  /** @type {Worker | undefined} */
  #worker

  /**
   * Run a task of worker.js. It ends when the signal is aborted, and never begins after that.
   *
   * @param {AbortSignal} signal
   * @param {string} task
   * @param {object} [details] what the task needs
   * @param {{transfer?: Transferable[], onProgress?: (progress: Progress) => void}} [options]
   * @returns {Promise<any>} what the task returns
   */
  async run(signal, task, details = {}, { transfer = [], onProgress = () => {} } = {}) {
    signal.throwIfAborted()
    this.#worker ??= new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })
    const worker = this.#worker
    return new Promise((resolve, reject) => {
      const fail = (/** @type {Error} */ reason) => {
        signal.removeEventListener('abort', stop)
        worker.terminate() // a runtime that failed may not run again
        this.#worker = undefined
        reject(reason)
      }
      const stop = () => fail(signal.reason)
      signal.addEventListener('abort', stop)
      worker.onmessage = ({ data }) => {
        if (data.progress) return onProgress(data.progress)
        if (data.error) return fail(new Error(data.error))
        signal.removeEventListener('abort', stop)
        resolve(data.result)
      }
      worker.onerror = () => fail(new Error('The program that runs the model did not start. Reload the page.'))
      worker.postMessage({ task, ...details }, transfer)
    })
  }
}
