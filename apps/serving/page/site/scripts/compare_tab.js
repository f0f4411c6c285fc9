// The same text drawn by the prior at once, and searched for by optimisation, whose way is seen as it grows.

import { Complaint } from './errors.js';
import { Curve } from './curve.js';
import { element, input, part, textArea } from './elements.js';
import { say, sayDuration, sayScore } from './language.js';
import { Notice } from './notice.js';
import { pngBlob, receive, reveal } from './pictures.js';
import { Tiles } from './tiles.js';
import { Worker } from './work.js';

/** @typedef {import('./desk.js').Desk} Desk */
/** @typedef {import('./pictures.js').Picture} Picture */
/** @typedef {import('./server.js').Compared} Compared */
/** @typedef {import('./server.js').Line} Line */

export class CompareTab {
  /** @param {Desk} desk */
  constructor(desk) {
    this.desk = desk;
    this.notice = new Notice('compare-notice', () => say('compare_ready'));
    this.curve = new Curve(part('curve'));
    this.prior = new Tiles(part('amortised'), (picture) => desk.choose(picture, this.prior));
    this.optimised = new Tiles(part('optimised'), (picture) => desk.choose(picture, this.optimised));
    this.worker = new Worker(this.notice, part('optimised'));
    element('compare-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      void this.compare();
    });
  }

  async compare() {
    const { desk } = this;
    const prompt = textArea('compare-prompt').value.trim();
    if (!prompt) return this.notice.complain(new Complaint('problem_empty'));
    desk.settings.renewUnlessLocked();
    const asked = { ...desk.settings.values, prompt, iterations: input('iterations').valueAsNumber };
    this.optimised.show([]);
    await this.worker.start('compare', async () => asked, (/** @type {Compared} */ result) => this.finish(result, prompt), {
      isLong: true,
      onLine: (line) => this.grow(line, prompt),
    });
  }

  /**
   * @param {Line} line
   * @param {string} prompt
   */
  grow({ amortised, points, png }, prompt) {
    if (amortised) {
      const picture = receive(amortised, 'prior', prompt);
      this.prior.show([picture]);
      this.desk.history.add([picture]);
      this.desk.selection.select(picture, this.prior);
      this.curve.begin([picture.seconds, picture.clip_score ?? 0]);
      reveal(part('amortised'));
    }
    if (points) this.curve.add(points);
    if (png) this.peek(png, points?.at(-1)?.[1] ?? 0);
  }

  /**
   * Show a picture that is on its way, which can't be kept.
   * @param {string} png
   * @param {number} score
   */
  peek(png, score) {
    const image = part('optimised').querySelector('img') ?? document.createElement('img');
    URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(pngBlob(png));
    image.alt = `${say('optimised')}, CLIP ${sayScore(score)}`;
    if (!image.isConnected) part('optimised').replaceChildren(image);
  }

  /**
   * @param {Compared} result
   * @param {string} prompt
   */
  finish({ optimised: served, points }, prompt) {
    const [picture] = this.prior.pictures;
    const optimised = receive(served, 'optimised', prompt);
    part('optimised').replaceChildren();
    this.optimised.show([optimised]);
    this.desk.history.add([optimised]);
    const seconds = points.at(-1)?.[0] ?? optimised.seconds;
    const gaps = () => ({
      prior: sayDuration(picture.seconds),
      prior_score: sayScore(picture.clip_score),
      optimised: sayDuration(seconds),
      optimised_score: sayScore(optimised.clip_score),
      times: Math.round(seconds / picture.seconds),
    });
    this.desk.noteOutside(this.notice, picture.outside, () => say('compared', gaps()));
  }

  retell() {
    this.notice.retell();
    this.prior.retell();
    this.optimised.retell();
    this.curve.draw();
  }
}
