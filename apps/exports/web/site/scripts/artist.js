// The page's side of the worker.

/** @typedef {import('./model.js').Model} Model */
/** @typedef {import('./painter.js').Wish} Wish */
/** @typedef {import('./worker.js').Answer} Answer */
/** @typedef {import('./worker.js').Message} Message */
/** @typedef {Extract<Answer, {kind: 'picture'}>} Drawn */
/**
 * @typedef {object} Listener
 * @property {(loaded: number, total: number) => void} onProgress
 * @property {(device: import('./model.js').Device) => void} onReady
 * @property {(message: string) => void} onBroken
 * @property {(drawn: Drawn, wish: Wish, seed: number) => void} onPicture
 * @property {(problem: import('./prompt.js').Problem) => void} onRefused
 * @property {() => void} onDone Called when all that was ordered last is drawn, or can't be.
 */

export class Artist {
  /**
   * @param {Model} model
   * @param {string | null} device Where to compute; null leaves that to the worker.
   * @param {Listener} listener
   */
  constructor(model, device, listener) {
    this.listener = listener;
    /** @type {{id: number, wish: Wish, seeds: number[]} | undefined} */
    this.order = undefined;
    this.worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' });
    this.worker.addEventListener('message', (event) => this.hear(event.data));
    this.worker.addEventListener('error', (event) => listener.onBroken(event.message));
    this.send({ kind: 'load', model, device });
  }

  /**
   * Draw a picture per seed; what was asked for before and isn't drawn yet is dropped.
   * @param {Wish} wish
   * @param {number[]} seeds
   */
  draw(wish, seeds) {
    this.order = { id: (this.order?.id ?? 0) + 1, wish, seeds };
    this.send({ kind: 'draw', ...this.order });
  }

  /** @param {Message} message */
  send(message) {
    this.worker.postMessage(message);
  }

  /** @param {Answer} answer */
  hear(answer) {
    if (answer.kind === 'progress') this.listener.onProgress(answer.loaded, answer.total);
    else if (answer.kind === 'ready') this.listener.onReady(answer.device);
    else if (answer.kind === 'broken') this.listener.onBroken(answer.message);
    else if (answer.id === this.order?.id) this.hearOfOrder(answer, this.order);
  }

  /**
   * @param {Extract<Answer, {id: number}>} answer
   * @param {{wish: Wish, seeds: number[]}} order
   */
  hearOfOrder(answer, order) {
    if (answer.kind === 'refused') this.listener.onRefused(answer.problem);
    else this.listener.onPicture(answer, order.wish, order.seeds[answer.index]);
    if (answer.kind === 'refused' || answer.index === order.seeds.length - 1) this.listener.onDone();
  }
}
