// The pictures: one, or four of which one is selected.

import { part } from './elements.js';
import { say } from './language.js';
import { labelOf } from './recipe.js';

/** @typedef {import('./painter.js').Picture} Picture */
/** @typedef {import('./painter.js').Wish} Wish */
/** @typedef {{picture: Picture, wish: Wish, seed: number, milliseconds: number}} Shown */
/** @typedef {{button: HTMLButtonElement, canvas: HTMLCanvasElement, shown: Shown | undefined}} Tile */

const ARROWS = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowRight: 1, ArrowUp: -2, ArrowDown: 2 });
const GRAY = 1;
const COLOURS = 3;
const OPAQUE = 255;

export class Stage {
  /**
   * @param {[number, number, number]} shape Channels, height and width of pictures.
   * @param {() => void} onSelect
   */
  constructor([, height, width], onSelect) {
    this.size = { width, height };
    this.onSelect = onSelect;
    this.selected = 0;
    /** @type {Tile[]} */
    this.tiles = [];
    document.documentElement.style.setProperty('--aspect', `${width} / ${height}`);
    document.documentElement.style.setProperty('--aspect-number', String(width / height));
    this.arrange(1);
  }

  /**
   * Make room for pictures; those that are there stay.
   * @param {number} count
   */
  arrange(count) {
    while (this.tiles.length < count) this.tiles.push(this.makeTile(this.tiles.length));
    this.tiles.length = count;
    const container = part('pictures');
    container.dataset.count = String(count);
    container.replaceChildren(...this.tiles.map((tile) => tile.button));
    this.select(Math.min(this.selected, count - 1));
  }

  /**
   * @param {number} index
   * @returns {Tile}
   */
  makeTile(index) {
    const button = document.createElement('button');
    const canvas = Object.assign(document.createElement('canvas'), this.size);
    button.type = 'button';
    button.className = 'tile empty';
    button.append(canvas);
    button.addEventListener('click', () => this.select(index));
    button.addEventListener('keydown', (event) => this.step(index, event));
    return { button, canvas, shown: undefined };
  }

  /**
   * @param {number} index
   * @param {KeyboardEvent} event
   */
  step(index, event) {
    const next = index + (ARROWS[event.key] ?? NaN);
    if (!this.tiles[next]) return;
    event.preventDefault();
    this.select(next);
    this.tiles[next].button.focus();
  }

  /** @param {number} index */
  select(index) {
    this.selected = index;
    this.tiles.forEach(({ button }, i) => button.setAttribute('aria-pressed', String(i === index)));
    this.onSelect();
  }

  /** What the selected tile shows, once it does. */
  get shown() {
    return this.tiles[this.selected].shown;
  }

  /**
   * @param {number} index
   * @param {Shown} shown
   */
  show(index, shown) {
    const tile = this.tiles[index];
    tile.shown = shown;
    tile.canvas.getContext('2d')?.putImageData(toImageData(shown.picture), 0, 0);
    tile.button.classList.remove('empty');
    this.name(index);
    if (index === this.selected) this.onSelect();
  }

  /**
   * Whether pictures of what is wished now are still to come.
   * @param {boolean} isBusy
   */
  setBusy(isBusy) {
    part('pictures').setAttribute('aria-busy', String(isBusy));
  }

  /** Name all pictures anew, in the page's language. */
  rename() {
    this.tiles.forEach((_, index) => this.name(index));
  }

  /** @param {number} index */
  name(index) {
    const { button, shown } = this.tiles[index];
    if (!shown) return;
    const { wish, seed } = shown;
    button.setAttribute('aria-label', say('picture', { index: index + 1, seed, label: labelOf(wish) }));
  }
}

/**
 * @param {Picture} picture
 * @returns {ImageData}
 */
function toImageData({ width, height, channels, levels }) {
  const image = new ImageData(width, height);
  const area = width * height;
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < COLOURS; c++) image.data[4 * i + c] = levels[(channels === GRAY ? 0 : c * area) + i];
    image.data[4 * i + COLOURS] = channels > COLOURS ? levels[COLOURS * area + i] : OPAQUE;
  }
  return image;
}
