// Pictures of a text, drawn at a press or while it is written; variations and refinements come to them.

import { Complaint } from './errors.js';
import { button, element, input, part, textArea } from './elements.js';
import { say, sayDuration, sayScore } from './language.js';
import { recall, remember } from './memory.js';
import { Notice } from './notice.js';
import { receive, reveal, startOf } from './pictures.js';
import { Tiles } from './tiles.js';
import { Words } from './words.js';
import { Worker } from './work.js';

/** @typedef {import('./pictures.js').Picture} Picture */
/** @typedef {import('./server.js').Drawn} Drawn */
/** @typedef {import('./desk.js').Desk} Desk */

const PAUSE = 300; // milliseconds without a key after which the text is drawn
const SLOWEST = 300; // milliseconds of a picture, beyond which none is drawn while one writes
const LIVE = 'text2latent live';
const TEXT = 'text2latent text';

export class DrawTab {
  /** @param {Desk} desk */
  constructor(desk) {
    this.desk = desk;
    this.prompt = textArea('prompt');
    this.notice = new Notice('notice', () => say('ready'));
    this.tiles = new Tiles(part('gallery'), (picture) => desk.choose(picture, this.tiles));
    this.worker = new Worker(this.notice, part('gallery'));
    this.words = new Words(this.prompt, () => this.type());
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {Set<string>} Models that the visitor draws with while they write though they are slow. */
    this.wanted = new Set();
    this.listen();
    this.prompt.value = recall(TEXT) ?? '';
    input('live').checked = recall(LIVE) !== 'off';
  }

  listen() {
    element('draw-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      void this.draw();
    });
    // While a Japanese word is being converted, its spelling would be drawn.
    this.prompt.addEventListener('input', (event) => {
      if (!(event instanceof InputEvent && event.isComposing)) this.type();
    });
    this.prompt.addEventListener('compositionend', () => this.type());
    input('live').addEventListener('change', () => this.switchLive(input('live').checked));
    button('vary').addEventListener('click', () => void this.vary());
    button('refine').addEventListener('click', () => void this.refine());
  }

  get isLive() {
    return input('live').checked;
  }

  /** @param {boolean} isOn */
  switchLive(isOn) {
    remember(LIVE, isOn ? 'on' : 'off');
    this.noteLive(null);
    if (!isOn) return;
    this.wanted.add(this.desk.settings.model);
    this.follow();
  }

  /** The text has changed. */
  type() {
    remember(TEXT, this.prompt.value);
    this.words.mark();
    this.follow();
  }

  /** Draw what is written and set, once nothing more has been for a moment. */
  follow() {
    clearTimeout(this.timer);
    if (this.isLive && this.prompt.value.trim()) this.timer = setTimeout(() => void this.draw(true), PAUSE);
  }

  /** Draw with another setting what follows the text; variations, which don't, stay. */
  adapt() {
    const { pictures } = this.tiles;
    if (pictures.length && pictures.every(({ kind }) => kind === 'drawn')) this.follow();
  }

  /**
   * @param {string} text
   */
  async drawText(text) {
    this.prompt.value = text;
    this.type();
    await this.draw();
  }

  /** @param {boolean} isTyped Whether it follows the text; then the seed stays, and so does what is selected. */
  async draw(isTyped = false) {
    clearTimeout(this.timer);
    const { desk } = this;
    const prompt = this.prompt.value.trim();
    if (!prompt) return this.notice.complain(new Complaint('problem_empty'));
    if (!isTyped) desk.settings.renewUnlessLocked();
    const asked = { ...desk.settings.values, prompt };
    await this.worker.start('draw', async () => asked, (/** @type {Drawn} */ result) => {
      const index = Math.max(0, isTyped ? this.tiles.pictures.findIndex((one) => one === desk.selection.picture) : 0);
      this.show(result, prompt, index, isTyped);
    });
  }

  /**
   * @param {Drawn} result
   * @param {string} prompt
   * @param {number} index Of the picture to select.
   * @param {boolean} isTyped
   */
  show({ pictures: served, seconds }, prompt, index, isTyped) {
    const pictures = served.map((one) => receive(one, 'drawn', prompt));
    this.tiles.show(pictures);
    if (isTyped) this.desk.history.addWhenQuiet(pictures);
    else this.desk.history.add(pictures);
    this.desk.selection.select(pictures[Math.min(index, pictures.length - 1)], this.tiles);
    this.desk.noteOutside(this.notice, served[0].outside, () => sayCount('pictures', pictures.length, seconds));
    if (!isTyped) reveal(part('gallery'));
    this.noteSpeed(1000 * served[0].seconds);
  }

  /** @param {number} milliseconds Of a picture. */
  noteSpeed(milliseconds) {
    const { model } = this.desk.settings;
    if (milliseconds <= SLOWEST || !this.isLive || this.wanted.has(model)) return;
    input('live').checked = false;
    this.noteLive(milliseconds);
  }

  /** @param {number | null} milliseconds */
  noteLive(milliseconds) {
    this.slow = milliseconds;
    part('live-note').textContent =
      milliseconds === null ? '' : say('live_slow', { milliseconds: Math.round(milliseconds) });
  }

  /** Draw more pictures like the selected one, beside those that are there. */
  async vary() {
    const { desk } = this;
    const { picture } = desk.selection;
    if (!picture) return;
    clearTimeout(this.timer);
    desk.tabs.go('draw');
    desk.settings.renewUnlessLocked();
    const { model, guidance_scale, steps, truncation, stem } = picture;
    const asked = { model, guidance_scale, steps, truncation, image_name: stem, n: desk.settings.count, seed: desk.settings.seed };
    await this.worker.start('vary', async () => withPicture(picture.blob, asked), (/** @type {Drawn} */ { pictures, seconds }) => {
      this.add(pictures.map((one) => receive(one, 'variation', picture.prompt)));
      this.notice.tell(() => sayCount('variations', pictures.length, seconds));
    });
  }

  /** Move the selected picture nearer to its text. */
  async refine() {
    const { desk } = this;
    const { picture } = desk.selection;
    if (!picture) return;
    clearTimeout(this.timer);
    desk.tabs.go('draw');
    const asked = async () => ({ start: await startOf(picture), iterations: desk.settings.refineSteps });
    await this.worker.start('refine', asked, (/** @type {Drawn} */ { pictures: [served], seconds }) => {
      const refined = receive(served, 'refined', picture.prompt);
      this.add([refined]);
      const gaps = () => ({ before: sayScore(picture.clip_score), after: sayScore(refined.clip_score), time: sayDuration(seconds) });
      this.notice.tell(() => say('refined', gaps()));
    }, { isLong: true });
  }

  /** @param {Picture[]} pictures */
  add(pictures) {
    this.desk.history.add(pictures);
    this.tiles.append(pictures);
    this.desk.selection.select(pictures[0], this.tiles);
    reveal(part('gallery'));
  }

  retell() {
    this.notice.retell();
    this.tiles.retell();
    this.words.retell();
    this.noteLive(this.slow ?? null);
  }
}

/**
 * How many pictures came, in what time.
 * @param {'pictures' | 'variations'} what
 * @param {number} count
 * @param {number} seconds
 */
export function sayCount(what, count, seconds) {
  const time = sayDuration(seconds);
  if (what === 'variations') return say(count === 1 ? 'one_variation' : 'many_variations', { count, time });
  return say(count === 1 ? 'one_picture' : 'many_pictures', { count, time });
}

/**
 * A request that a picture goes with.
 * @param {Blob} picture
 * @param {object} asked
 */
export function withPicture(picture, asked) {
  const form = new FormData();
  form.append('picture', picture, 'picture');
  form.append('asked', JSON.stringify(asked));
  return form;
}
