// What the visitor writes and sets, and what they wish by it.

import { button, details, element, input, part, textArea } from './elements.js';
import { ownTexts } from './translation.js';
import { recall, remember } from './memory.js';

/** @typedef {import('./model.js').Model} Model */
/** @typedef {import('./painter.js').Wish} Wish */

const SHORTEST_PAUSE = 80;
const LONGEST_PAUSE = 1000;
const NEW_SEEDS = 1_000_000;
const KEPT = ['text', 'mix-text', 'fraction', 'from', 'to', 'strength', 'guidance'];

export class Desk {
  /**
   * @param {Model} model
   * @param {() => void} onChange Called when something is written or set.
   * @param {() => void} onWish Called after that, when nothing more has been for a moment.
   */
  constructor(model, onChange, onWish) {
    this.model = model;
    this.onChange = onChange;
    this.onWish = onWish;
    this.pause = SHORTEST_PAUSE;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.waiting = undefined;
    this.form = element('desk', HTMLFormElement);
    this.store = `text2latent desk of ${location.pathname}`;
    input('guidance').max = String(Math.max(Number(input('guidance').max), model.guidance_scale));
    input('guidance').value = String(model.guidance_scale);
    this.restore();
    if (!textArea('text').value) textArea('text').value = ownTexts(model.examples)[0];
    this.showValues();
    this.showExamples();
    this.listen();
  }

  listen() {
    this.form.addEventListener('submit', (event) => event.preventDefault());
    // While a Japanese word is being converted, its spelling would be drawn.
    this.form.addEventListener('input', (event) => this.change(event instanceof InputEvent && event.isComposing));
    this.form.addEventListener('compositionend', () => this.change());
    for (const id of ['mix', 'edit']) details(id).addEventListener('toggle', () => this.change());
    button('another').addEventListener('click', () => this.another());
    textArea('text').addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.another();
    });
  }

  change(isComposing = false) {
    this.showValues();
    clearTimeout(this.waiting);
    if (isComposing) return;
    this.onChange();
    this.keep();
    this.waiting = setTimeout(this.onWish, this.pause);
  }

  /**
   * Leave more time for writing where a picture, once begun, takes long.
   * @param {number} milliseconds What the last picture took.
   */
  adapt(milliseconds) {
    this.pause = Math.min(LONGEST_PAUSE, Math.max(SHORTEST_PAUSE, milliseconds));
  }

  another() {
    this.seed = Math.floor(Math.random() * NEW_SEEDS);
    this.change();
  }

  get seed() {
    const seed = Math.trunc(input('seed').valueAsNumber);
    return seed >= 0 && Number.isSafeInteger(seed) ? seed : 0;
  }

  set seed(seed) {
    input('seed').value = String(seed);
  }

  get count() {
    return Number(new FormData(this.form).get('count'));
  }

  /** @param {number} count */
  set count(count) {
    const radios = /** @type {NodeListOf<HTMLInputElement>} */ (this.form.querySelectorAll('[name=count]'));
    for (const radio of radios) radio.checked = radio.value === String(count);
  }

  get seeds() {
    return Array.from({ length: this.count }, (_, i) => this.seed + i);
  }

  /** @returns {Wish} */
  get wish() {
    const [other, from, to] = [textArea('mix-text').value, input('from').value, input('to').value];
    return {
      text: textArea('text').value,
      mix: details('mix').open && other.trim() ? { text: other, fraction: input('fraction').valueAsNumber } : null,
      edit:
        details('edit').open && from.trim() && to.trim()
          ? { from, to, strength: input('strength').valueAsNumber }
          : null,
      guidanceScale: input('guidance').valueAsNumber,
    };
  }

  showValues() {
    for (const output of /** @type {NodeListOf<HTMLOutputElement>} */ (this.form.querySelectorAll('output'))) {
      output.value = String(input(output.htmlFor.value).valueAsNumber);
    }
  }

  showExamples() {
    const chips = ownTexts(this.model.examples).map((text) => {
      const chip = document.createElement('button');
      chip.type = 'button';
      chip.textContent = text;
      chip.addEventListener('click', () => {
        textArea('text').value = text;
        this.change();
      });
      return chip;
    });
    part('examples').replaceChildren(...chips);
  }

  /** Remember what is written here until the next visit. */
  keep() {
    const values = KEPT.map((id) => [id, this.field(id).value]);
    remember(this.store, JSON.stringify(Object.fromEntries(values)));
  }

  restore() {
    const values = JSON.parse(recall(this.store) ?? '{}');
    for (const id of KEPT) if (typeof values[id] === 'string') this.field(id).value = values[id];
  }

  /** @param {string} id */
  field(id) {
    return id.endsWith('text') ? textArea(id) : input(id);
  }
}
