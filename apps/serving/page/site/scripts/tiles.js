// Pictures side by side, of which one may be the selected one. Arrow keys go through them.

import { say, sayDuration, sayScore } from './language.js';
import { moveBy } from './keys.js';

/** @typedef {import('./pictures.js').Picture} Picture */

const WIDEST = 6;

export class Tiles {
  /**
   * @param {HTMLElement} container
   * @param {(picture: Picture) => void} onChoose
   * @param {(picture: Picture) => void} [onDelete] What the Delete key does.
   */
  constructor(container, onChoose, onDelete) {
    this.container = container;
    this.onChoose = onChoose;
    this.onDelete = onDelete;
    /** @type {Picture[]} */
    this.pictures = [];
    /** @type {Picture | null} */
    this.selected = null;
    container.addEventListener('keydown', (event) => this.press(event));
  }

  get buttons() {
    return /** @type {HTMLButtonElement[]} */ ([...this.container.children]);
  }

  get columns() {
    if (this.container.classList.contains('strip')) return 1;
    return Math.min(WIDEST, Math.ceil(Math.sqrt(this.pictures.length)));
  }

  /**
   * Show these; tiles that are there take another picture, so that nothing flickers.
   * @param {Picture[]} pictures
   */
  show(pictures) {
    this.pictures = pictures;
    this.container.style.setProperty('--columns', String(Math.max(1, this.columns)));
    while (this.container.children.length > pictures.length) this.container.lastElementChild?.remove();
    while (this.container.children.length < pictures.length) this.container.append(this.make());
    this.retell();
    this.mark(this.selected);
  }

  /** @param {Picture[]} pictures */
  append(pictures) {
    this.show([...this.pictures, ...pictures]);
  }

  make() {
    const tile = document.createElement('button');
    tile.type = 'button';
    tile.className = 'tile';
    const caption = document.createElement('span');
    caption.className = 'caption';
    caption.ariaHidden = 'true';
    const image = document.createElement('img');
    // A strip may be long, of which few are seen.
    if (this.container.classList.contains('strip')) image.loading = 'lazy';
    tile.append(image, caption);
    tile.addEventListener('click', () => this.choose(this.buttons.indexOf(tile)));
    return tile;
  }

  /** Write alt texts and captions in the page's language. */
  retell() {
    for (const [i, tile] of this.buttons.entries()) {
      const { url, prompt, seed, clip_score, seconds } = this.pictures[i];
      const image = /** @type {HTMLImageElement} */ (tile.firstElementChild);
      if (image.src !== url) image.src = url;
      image.alt = say('picture_name', { index: i + 1, count: this.pictures.length, text: prompt, seed });
      const gaps = { score: sayScore(clip_score), seed, time: sayDuration(seconds) };
      /** @type {HTMLElement} */ (tile.lastElementChild).textContent = say('caption', gaps);
    }
  }

  /**
   * Outline the selected picture, if it is here.
   * @param {Picture | null} selected
   */
  mark(selected) {
    this.selected = selected;
    const at = this.pictures.findIndex((picture) => picture === selected);
    for (const [i, tile] of this.buttons.entries()) {
      tile.setAttribute('aria-pressed', String(i === at));
      tile.tabIndex = i === Math.max(0, at) ? 0 : -1;
    }
  }

  /** @param {number} index */
  choose(index) {
    this.onChoose(this.pictures[index]);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const index = this.buttons.findIndex((tile) => tile === document.activeElement);
    if (index < 0) return;
    if (event.key === 'Delete' && this.onDelete) {
      this.onDelete(this.pictures[index]);
      this.buttons[Math.min(index, this.buttons.length - 1)]?.focus();
      return;
    }
    const next = moveBy(event, index, this.pictures.length, this.columns);
    if (next === null) return;
    this.choose(next);
    this.buttons[next].focus();
  }
}
