// The selected picture, changed by sliders as they are moved, and seen before and after.

import { Complaint } from './errors.js';
import { Curtain } from './curtain.js';
import { button, element, input, part } from './elements.js';
import { say } from './language.js';
import { Notice } from './notice.js';
import { receive, reveal, startOf } from './pictures.js';
import { Sliders } from './sliders.js';
import { sayCount } from './draw_tab.js';
import { Worker } from './work.js';

/** @typedef {import('./desk.js').Desk} Desk */
/** @typedef {import('./pictures.js').Picture} Picture */
/** @typedef {import('./server.js').Drawn} Drawn */

export class EditTab {
  /** @param {Desk} desk */
  constructor(desk) {
    this.desk = desk;
    this.notice = new Notice('edit-notice', () => say(this.before ? 'edit_ready' : 'edit_empty'));
    this.curtain = new Curtain(part('curtain'));
    this.sliders = new Sliders(() => this.move());
    this.worker = new Worker(this.notice, part('curtain'));
    /** @type {Picture | null} What is changed. */
    this.before = null;
    /** @type {Picture | null} */
    this.after = null;
    this.isWaiting = false;
    element('edit-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      this.add();
    });
    button('edit-this').addEventListener('click', () => this.take());
    button('edit-reset').addEventListener('click', () => this.reset());
    desk.selection.follow((picture) => this.follow(picture));
    this.retell();
  }

  /** Change the selected picture, even if it is what was changed last. */
  take() {
    this.begin(this.desk.selection.picture);
    this.desk.tabs.go('edit');
    reveal(part('edited'));
  }

  /**
   * Another picture is selected.
   * @param {Picture | null} picture
   */
  follow(picture) {
    if (picture === null || picture !== this.after) this.begin(picture);
  }

  /** @param {Picture | null} picture */
  begin(picture) {
    if (picture === this.before && !this.after) return;
    this.worker.stop();
    this.isWaiting = false;
    this.before = picture;
    this.after = null;
    this.sliders.reset();
    this.curtain.show(picture, null);
    this.notice.tell(() => say(this.before ? 'edit_ready' : 'edit_empty'));
  }

  reset() {
    const { before } = this;
    if (!before) return;
    this.after = null;
    this.worker.stop();
    this.sliders.reset();
    this.curtain.show(before, null);
    this.desk.selection.select(before);
  }

  add() {
    const [from, to] = [input('edit-from').value.trim(), input('edit-to').value.trim()];
    if (!from || !to) return this.notice.complain(new Complaint('problem_empty'));
    this.sliders.add(from, to);
    this.move();
  }

  /** A slider has moved: the last place that it came to is drawn, and what was being drawn is finished first. */
  move() {
    const { before } = this;
    if (!before) return this.notice.complain(new Complaint('problem_no_picture'));
    if (this.worker.isBusy) {
      this.isWaiting = true;
      return;
    }
    const { changes } = this.sliders;
    if (!changes.length) return this.after ? this.reset() : undefined;
    const asked = async () => ({ start: await startOf(before), changes });
    void this.worker.start('adjust', asked, (/** @type {Drawn} */ result) => this.show(result, before)).then(() => {
      if (!this.isWaiting) return;
      this.isWaiting = false;
      this.move();
    });
  }

  /**
   * @param {Drawn} result
   * @param {Picture} before
   */
  show({ pictures: [served], seconds }, before) {
    const after = (this.after = receive(served, 'edited', before.prompt));
    this.curtain.show(before, after);
    this.desk.history.addWhenQuiet([after]);
    this.desk.selection.select(after);
    this.notice.tell(() => sayCount('pictures', 1, seconds));
  }

  retell() {
    this.notice.retell();
    this.sliders.retell();
    this.curtain.retell(this.before);
  }
}
