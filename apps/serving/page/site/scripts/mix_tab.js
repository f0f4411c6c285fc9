// The way from one text to another: a strip to look along, and an animation.

import { Complaint } from './errors.js';
import { button, element, input, part, textArea } from './elements.js';
import { say, sayDuration } from './language.js';
import { Notice } from './notice.js';
import { bytesOf, receive, reveal, saveFile } from './pictures.js';
import { Tiles } from './tiles.js';
import { Worker } from './work.js';

/** @typedef {import('./desk.js').Desk} Desk */
/** @typedef {import('./pictures.js').Picture} Picture */
/** @typedef {import('./server.js').Mixed} Mixed */

const FRAME_MILLISECONDS = 125;

export class MixTab {
  /** @param {Desk} desk */
  constructor(desk) {
    this.desk = desk;
    this.from = textArea('mix-from');
    this.to = textArea('mix-to');
    this.position = input('mix-position');
    this.play = button('mix-play');
    this.notice = new Notice('mix-notice', () => say('mix_ready'));
    this.tiles = new Tiles(part('mix-strip'), (picture) => this.look(picture));
    this.worker = new Worker(this.notice, part('mix-frame'));
    this.gif = new Blob();
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.playing = undefined;
    this.listen();
  }

  listen() {
    element('mix-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      void this.mix();
    });
    this.position.addEventListener('input', () => {
      this.stop();
      this.look(this.tiles.pictures[this.index]);
    });
    this.play.addEventListener('click', () => (this.playing ? this.stop() : this.start()));
    part('mix-panel').addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.stop();
    });
    button('mix-save').addEventListener('click', () => saveFile(this.gif, `${this.tiles.pictures[0].stem}.gif`));
    button('mix-this').addEventListener('click', () => this.take(this.desk.selection.picture));
  }

  get index() {
    return Math.round(this.position.valueAsNumber * (this.tiles.pictures.length - 1));
  }

  /**
   * Take a picture's text and seed for one end, which the way then begins or ends with.
   * @param {Picture | null} picture
   */
  take(picture) {
    if (!picture) return;
    this.desk.tabs.go('mix');
    this.desk.settings.lock(picture.seed);
    const box = this.from.value.trim() && this.from.value !== picture.prompt ? this.to : this.from;
    box.value = picture.prompt;
    const other = box === this.from ? this.to : this.from;
    if (this.from.value.trim() && this.to.value.trim()) void this.mix();
    else other.focus();
  }

  async mix() {
    const { desk } = this;
    const [start, end] = [this.from.value.trim(), this.to.value.trim()];
    if (!start || !end) return this.notice.complain(new Complaint('problem_empty'));
    this.stop();
    desk.settings.renewUnlessLocked();
    const asked = { ...desk.settings.values, start, end, frames: input('mix-frames').valueAsNumber };
    await this.worker.start('mix', async () => asked, (/** @type {Mixed} */ { pictures, seconds, gif }) => {
      const frames = pictures.map((one, i) => receive(one, 'mixed', i < pictures.length / 2 ? start : end));
      this.gif = new Blob([bytesOf(gif)], { type: 'image/gif' });
      this.position.step = String(1 / (frames.length - 1));
      this.position.disabled = this.play.disabled = button('mix-save').disabled = false;
      this.tiles.show(frames);
      desk.history.add(frames);
      this.look(frames[0]);
      this.notice.tell(() => say('many_frames', { count: frames.length, time: sayDuration(seconds) }));
      reveal(part('mix-frame'));
    }, { isLong: true });
  }

  /**
   * Show a frame.
   * @param {Picture} frame
   */
  look(frame) {
    this.show(frame);
    this.desk.choose(frame, this.tiles);
  }

  /** @param {Picture} frame */
  show(frame) {
    const { pictures } = this.tiles;
    this.position.value = String(pictures.indexOf(frame) / (pictures.length - 1));
    const image = part('mix-frame').querySelector('img') ?? document.createElement('img');
    image.src = frame.url;
    image.alt = say('picture_name', { index: pictures.indexOf(frame) + 1, count: pictures.length, text: frame.label, seed: frame.seed });
    part('mix-frame').replaceChildren(image);
  }

  /** Go there and back until it is stopped. */
  start() {
    const { pictures } = this.tiles;
    const way = [...pictures, ...pictures.slice(1, -1).reverse()];
    let at = this.index;
    this.play.ariaPressed = 'true';
    this.playing = setInterval(() => {
      at = (at + 1) % way.length;
      this.show(way[at]);
    }, FRAME_MILLISECONDS);
  }

  stop() {
    if (!this.playing) return;
    clearInterval(this.playing);
    this.playing = undefined;
    this.play.ariaPressed = 'false';
    this.look(this.tiles.pictures[this.index]);
  }

  retell() {
    this.notice.retell();
    this.tiles.retell();
    if (this.tiles.pictures.length) this.show(this.tiles.pictures[this.index]);
  }
}
