// The settings that tabs share, and the model.

import { button, details, element, input, part } from './elements.js';
import { recall, remember } from './memory.js';

/** @typedef {import('./server.js').ServerSettings} ServerSettings */

const SEEDS = 1_000_000; // few enough digits to be read and typed
const KEPT = 'text2latent settings';
const KEPT_FIELDS = ['num-images', 'seed', 'guidance', 'steps', 'truncation', 'negative', 'rerank', 'iterations', 'mix-frames', 'refine-steps'];
const TEXT_BOXES = 'textarea, #negative, #edit-from, #edit-to';
/** @type {[string, string][]} Sliders, and the limits that they have. */
const LIMITS = [
  ['num-images', 'max_images'], ['steps', 'max_steps'], ['truncation', 'max_truncation'], ['rerank', 'max_rerank'],
  ['refine-steps', 'max_refine'], ['iterations', 'max_iterations'], ['mix-frames', 'max_frames'],
];

export class Settings {
  /**
   * @param {ServerSettings} server
   * @param {() => void} onChange Called when something is set that changes pictures.
   * @param {(model: string) => void} onModel
   */
  constructor(server, onChange, onModel) {
    this.models = element('model', HTMLSelectElement);
    this.models.replaceChildren(...server.models.map((name) => new Option(name, name)));
    this.models.addEventListener('change', () => onModel(this.model));
    this.limit(server.limits);
    this.restore();
    showValues(document);
    document.addEventListener('input', () => showValues(document));
    document.addEventListener('change', () => this.keep());
    const form = element('settings', HTMLFormElement);
    form.addEventListener('submit', (event) => event.preventDefault());
    form.addEventListener('input', (event) => {
      if (event.target !== input('seed-lock')) onChange();
    });
    button('new-seed').addEventListener('click', () => {
      this.renewSeed();
      this.keep();
      onChange();
    });
    this.foldWhereNarrow();
  }

  /** @param {Record<string, number>} limits */
  limit(limits) {
    for (const [id, limit] of LIMITS) input(id).max = String(limits[limit]);
    input('guidance').max = String(Math.min(Number(input('guidance').max), limits.max_guidance_scale));
    const boxes = /** @type {NodeListOf<HTMLTextAreaElement | HTMLInputElement>} */ (document.querySelectorAll(TEXT_BOXES));
    for (const box of boxes) box.maxLength = limits.max_prompt_characters;
  }

  get model() {
    return this.models.value;
  }

  get seed() {
    const seed = Math.trunc(input('seed').valueAsNumber);
    return seed >= 0 && Number.isSafeInteger(seed) ? seed : 0;
  }

  set seed(seed) {
    input('seed').value = String(seed);
  }

  get count() {
    return input('num-images').valueAsNumber;
  }

  get refineSteps() {
    return input('refine-steps').valueAsNumber;
  }

  /** Take another seed, as each Draw does, unless it is locked. */
  renewUnlessLocked() {
    if (!input('seed-lock').checked) this.renewSeed();
  }

  renewSeed() {
    this.seed = Math.floor(Math.random() * SEEDS);
  }

  /**
   * Take a seed and keep it.
   * @param {number} seed
   */
  lock(seed) {
    this.seed = seed;
    input('seed-lock').checked = true;
    this.keep();
  }

  /**
   * Set what a picture was drawn with, but for its seed.
   * @param {import('./pictures.js').Picture} picture
   */
  take({ model, negative, guidance_scale, steps, truncation, rerank }) {
    const values = { guidance: guidance_scale, steps, truncation, rerank, negative: negative ?? '' };
    for (const [id, value] of Object.entries(values)) input(id).value = String(value);
    showValues(document);
    this.keep();
    if (model === this.model || ![...this.models.options].some(({ value }) => value === model)) return;
    this.models.value = model;
    this.models.dispatchEvent(new Event('change'));
  }

  /** What the server takes of all this. */
  get values() {
    return {
      model: this.model,
      n: this.count,
      seed: this.seed,
      guidance_scale: input('guidance').valueAsNumber,
      steps: input('steps').valueAsNumber,
      truncation: input('truncation').valueAsNumber,
      negative_prompt: input('negative').value,
      rerank: input('rerank').valueAsNumber,
    };
  }

  keep() {
    const values = Object.fromEntries(KEPT_FIELDS.map((id) => [id, input(id).value]));
    remember(KEPT, JSON.stringify({ ...values, lock: input('seed-lock').checked }));
  }

  restore() {
    const values = JSON.parse(recall(KEPT) ?? '{}');
    for (const id of KEPT_FIELDS) if (typeof values[id] === 'string') input(id).value = values[id];
    input('seed-lock').checked = values.lock === true;
    if (values.seed === undefined) this.renewSeed();
    if (input('negative').value) details('advanced').open = true;
  }

  /** On a phone, or in a narrow window, settings are behind one button. */
  foldWhereNarrow() {
    const toggle = button('settings-toggle');
    const fold = (/** @type {boolean} */ isOpen) => {
      toggle.setAttribute('aria-expanded', String(isOpen));
      part('settings').classList.toggle('open', isOpen);
    };
    toggle.addEventListener('click', () => fold(toggle.getAttribute('aria-expanded') !== 'true'));
    part('settings').addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || toggle.getAttribute('aria-expanded') !== 'true') return;
      fold(false);
      toggle.focus();
    });
  }
}

/**
 * Write the values of sliders beside them.
 * @param {ParentNode} root
 */
export function showValues(root) {
  for (const output of /** @type {NodeListOf<HTMLOutputElement>} */ (root.querySelectorAll('output'))) {
    const slider = document.getElementById(output.htmlFor.value);
    if (slider instanceof HTMLInputElement) output.value = String(slider.valueAsNumber);
  }
}
