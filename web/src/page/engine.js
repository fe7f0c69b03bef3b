/** The worker that runs the models, as seen by the page: one task at a time, which can be stopped. */

/**
 * How far a task is: the name of the file that is loading and the share of it, or the share of the
 * sound that is done, or the seconds that all of it will probably take.
 *
 * @typedef {{loading?: string, share?: number, expected?: number}} Progress
 */

export class Engine {
  /** @type {Worker | undefined} */
  #worker
  /** @type {((reason: Error) => void) | undefined} */
  #refuse

  /**
   * Run a task of worker.js.
   *
   * @param {string} task
   * @param {object} [details] what the task needs
   * @param {{transfer?: Transferable[], onProgress?: (progress: Progress) => void}} [options]
   * @returns {Promise<any>} what the task returns
   */
  run(task, details = {}, { transfer = [], onProgress = () => {} } = {}) {
    this.#worker ??= new Worker(new URL('./worker.js', import.meta.url), { type: 'module' })
    const worker = this.#worker
    return new Promise((resolve, reject) => {
      this.#refuse = reject
      worker.onmessage = ({ data }) => {
        if (data.progress) return onProgress(data.progress)
        if (data.error) return this.stop(new Error(data.error)) // a runtime that failed may not run again
        this.#refuse = undefined
        resolve(data.result)
      }
      worker.onerror = () => {
        this.stop(new Error('The program that runs the model did not start. Reload the page.'))
      }
      worker.postMessage({ task, ...details }, transfer)
    })
  }

  /** Stop what is running, if anything is; the next task starts a new worker. @param {Error} [reason] */
  stop(reason = new Error('stopped')) {
    if (!this.#refuse) return
    this.#worker?.terminate()
    this.#worker = undefined
    this.#refuse(reason)
    this.#refuse = undefined
  }
}

/** Say in words what a task is at. @param {Progress} progress */
export const progressText = ({ loading }) => (loading ? `Loading ${loading}` : 'Removing noise')
