// A picture before and after, one over the other, with an edge between them that can be moved.

import { say } from './language.js';

/** @typedef {import('./pictures.js').Picture} Picture */

const MIDDLE = 50;

export class Curtain {
  /** @param {HTMLElement} container */
  constructor(container) {
    this.container = container;
    this.images = [document.createElement('img'), document.createElement('img')];
    this.labels = [document.createElement('span'), document.createElement('span')];
    this.edge = document.createElement('input');
    Object.assign(this.edge, { type: 'range', min: '0', max: '100', step: '1', value: String(MIDDLE), id: 'curtain-edge' });
    this.edge.addEventListener('input', () => this.draw());
    for (const [i, name] of ['before', 'after'].entries()) {
      this.images[i].id = `edit-${name}`;
      this.labels[i].className = `side ${name}`;
    }
    /** @type {Picture | null} */
    this.after = null;
  }

  /**
   * @param {Picture | null} before
   * @param {Picture | null} after Null shows the picture before alone.
   */
  show(before, after) {
    const isFirst = after !== null && this.after === null;
    this.after = after;
    if (!before) return this.container.replaceChildren();
    if (isFirst) this.edge.value = String(MIDDLE);
    this.images[0].src = before.url;
    this.images[1].src = (after ?? before).url;
    const [first, second] = this.images;
    this.container.replaceChildren(...(after ? [first, second, ...this.labels, this.edge] : [first]));
    this.retell(before);
    this.draw();
  }

  /** @param {Picture | null} before */
  retell(before) {
    for (const [i, name] of /** @type {const} */ (['before', 'after']).entries()) {
      this.labels[i].textContent = say(name);
      this.images[i].alt = `${say(name)}: ${before?.prompt ?? ''}`;
    }
    this.edge.ariaLabel = say('curtain');
  }

  draw() {
    this.container.style.setProperty('--edge', `${this.edge.value}%`);
  }
}
