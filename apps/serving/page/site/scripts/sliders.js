// Sliders along the directions between two texts: those of the model's world, and the visitor's own, which are kept.

import { part } from './elements.js';
import { say } from './language.js';
import { recall, remember } from './memory.js';
import { currentLanguage } from './translation.js';

/** @typedef {import('./server.js').Said} Said */
/** @typedef {{ name: Said | null, from: Said, to: Said, strength: number }} Slider */

const OWN = 'text2latent sliders';
const MOST = 3;
const STEP = 0.05;

export class Sliders {
  /**
   * @param {() => void} onMove
   */
  constructor(onMove) {
    this.onMove = onMove;
    /** @type {Slider[]} */
    this.worlds = [];
    this.own = readOwn();
  }

  /** @param {{ name: Said, from: Said, to: Said }[]} sliders Those of the model's world. */
  offer(sliders) {
    this.worlds = sliders.map((slider) => ({ ...slider, strength: 0 }));
    this.retell();
  }

  get all() {
    return [...this.own, ...this.worlds];
  }

  /** What is to be changed, as the server takes it. */
  get changes() {
    const language = currentLanguage();
    return this.all
      .filter(({ strength }) => strength !== 0)
      .map(({ from, to, strength }) => ({ source: from[language], target: to[language], strength }));
  }

  /**
   * Add a slider of the visitor's own, or move the same one that is there, the whole way.
   * @param {string} from
   * @param {string} to
   */
  add(from, to) {
    const there = this.own.find((slider) => slider.from.en === from && slider.to.en === to);
    if (there) there.strength = 1;
    else this.own.unshift({ name: null, from: { en: from, ja: from }, to: { en: to, ja: to }, strength: 1 });
    this.keep();
    this.retell();
  }

  reset() {
    for (const slider of this.all) slider.strength = 0;
    this.retell();
  }

  retell() {
    part('slider-list').replaceChildren(...this.all.map((slider, i) => this.row(slider, i)));
  }

  /**
   * @param {Slider} slider
   * @param {number} index
   */
  row(slider, index) {
    const name = nameOf(slider);
    const [row, label, value, range] = [
      document.createElement('div'), document.createElement('label'), document.createElement('output'),
      document.createElement('input'),
    ];
    row.className = 'field slider';
    range.id = `slider-${index}`;
    label.htmlFor = range.id;
    label.textContent = name;
    Object.assign(range, { type: 'range', min: String(-MOST), max: String(MOST), step: String(STEP), value: String(slider.strength) });
    value.textContent = slider.strength.toFixed(2);
    range.addEventListener('input', () => {
      slider.strength = range.valueAsNumber;
      value.textContent = slider.strength.toFixed(2);
      this.onMove();
    });
    row.append(label, value, range, ...(slider.name ? [] : [this.remover(slider, name)]));
    return row;
  }

  /**
   * @param {Slider} slider
   * @param {string} name
   */
  remover(slider, name) {
    const remove = document.createElement('button');
    remove.type = 'button';
    remove.className = 'remove';
    remove.textContent = '×';
    remove.ariaLabel = say('remove_slider', { name });
    remove.addEventListener('click', () => {
      this.own = this.own.filter((one) => one !== slider);
      this.keep();
      this.retell();
      this.onMove();
    });
    return remove;
  }

  keep() {
    remember(OWN, JSON.stringify(this.own.map(({ from, to }) => [from.en, to.en])));
  }
}

/** @param {Slider} slider */
function nameOf({ name, from, to }) {
  return name ? name[currentLanguage()] : say('own_slider', { from: from.en, to: to.en });
}

/** @returns {Slider[]} */
function readOwn() {
  /** @type {[string, string][]} */
  const pairs = JSON.parse(recall(OWN) ?? '[]');
  return pairs.map(([from, to]) => ({ name: null, from: { en: from, ja: from }, to: { en: to, ja: to }, strength: 0 }));
}
