// One thing at a time: what a tab asks of the server, until it is done, overtaken or stopped.

import { say, sayWork } from './language.js';
import { ask } from './server.js';

/** @typedef {import('./notice.js').Notice} Notice */
/** @typedef {import('./server.js').Line} Line */

export class Worker {
  /**
   * @param {Notice} notice
   * @param {HTMLElement} shown What is marked as busy meanwhile.
   */
  constructor(notice, shown) {
    this.notice = notice;
    this.shown = shown;
    /** @type {AbortController | undefined} */
    this.running = undefined;
  }

  get isBusy() {
    return this.running !== undefined;
  }

  /** Leave what is being done. */
  stop() {
    this.running?.abort();
    this.end(this.running);
  }

  /** As `stop`, and say so. */
  stopAndTell() {
    if (!this.isBusy) return;
    this.stop();
    this.notice.tell(() => say('stopped'));
  }

  /**
   * Ask for something, and overtake what was asked before.
   * @template T
   * @param {string} name
   * @param {(signal: AbortSignal) => Promise<object | FormData>} asked
   * @param {(result: T) => void} onResult
   * @param {{ onLine?: (line: Line) => void, isLong?: boolean }} [how] What is long is spoken of at once.
   */
  async start(name, asked, onResult, { onLine = () => {}, isLong = false } = {}) {
    this.stop();
    const running = (this.running = new AbortController());
    this.shown.setAttribute('aria-busy', 'true');
    const progress = this.notice.wait(() => say('drawing'), () => this.stopAndTell(), isLong);
    try {
      const body = await asked(running.signal);
      const result = await ask(name, body, running.signal, (line) => {
        if (running.signal.aborted) return;
        if (line.share !== undefined) progress(line.share, () => sayWork(line.what ?? ''));
        onLine(line);
      });
      if (running.signal.aborted) return;
      this.end(running);
      onResult(/** @type {T} */ (result));
    } catch (error) {
      if (running.signal.aborted) return;
      this.end(running);
      this.notice.complain(error);
    }
  }

  /** @param {AbortController | undefined} running */
  end(running) {
    if (this.running !== running) return;
    this.running = undefined;
    this.shown.removeAttribute('aria-busy');
  }
}
