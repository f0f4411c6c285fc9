// All that was drawn, kept in the browser until it is deleted: a strip from which pictures are taken up again.

import { button, element, part } from './elements.js';
import { say } from './language.js';
import { saveFile } from './pictures.js';
import { Store } from './store.js';
import { Tiles } from './tiles.js';
import { zip } from './zip.js';

/** @typedef {import('./pictures.js').Picture} Picture */

const MOST = 1000;
const QUIET = 1500; // milliseconds after which what follows the text, or a slider, has stayed for long enough

export class History {
  /**
   * @param {(picture: Picture) => void} onChoose
   * @param {(pictures: Picture[]) => void} onDelete
   */
  constructor(onChoose, onDelete) {
    this.store = new Store();
    this.onDelete = onDelete;
    this.tiles = new Tiles(part('history-strip'), onChoose, (picture) => void this.remove([picture]));
    /** @type {Picture[]} */
    this.waiting = [];
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {Picture | null} */
    this.selected = null;
    button('download-all').addEventListener('click', () => void this.download());
    button('delete-one').addEventListener('click', () => {
      if (this.selected) void this.remove([this.selected]);
    });
    button('delete-all').addEventListener('click', () => this.askToClear());
    element('confirm', HTMLDialogElement).addEventListener('close', () => {
      if (element('confirm', HTMLDialogElement).returnValue === 'yes') void this.remove(this.tiles.pictures);
    });
    this.show([]);
  }

  /** Show what was kept in earlier visits. */
  async load() {
    try {
      const kept = await this.store.all();
      const pictures = kept.map((one) => ({ ...one, url: URL.createObjectURL(one.blob) }));
      this.show([...this.tiles.pictures, ...pictures.reverse()]);
    } catch {
      // Visitors who allow nothing to be kept start anew each time.
    }
  }

  /**
   * Keep pictures, the newest first in the strip.
   * @param {Picture[]} pictures
   */
  add(pictures) {
    this.settle();
    const fresh = pictures.filter((picture) => !this.tiles.pictures.includes(picture));
    if (!fresh.length) return;
    const all = [...fresh, ...this.tiles.pictures];
    this.show(all.slice(0, MOST));
    void this.keep(fresh, all.slice(MOST));
  }

  /**
   * Keep pictures once they have stayed for a moment, instead of those that haven't.
   * @param {Picture[]} pictures
   */
  addWhenQuiet(pictures) {
    clearTimeout(this.timer);
    this.waiting = pictures;
    this.timer = setTimeout(() => this.settle(), QUIET);
  }

  /** Keep now what waits. */
  settle() {
    clearTimeout(this.timer);
    const { waiting } = this;
    this.waiting = [];
    if (waiting.length) this.add(waiting);
  }

  /** Leave what waits: something else was drawn. */
  forgetWaiting() {
    clearTimeout(this.timer);
    this.waiting = [];
  }

  /**
   * @param {Picture[]} fresh
   * @param {Picture[]} old
   */
  async keep(fresh, old) {
    try {
      // The last one is put first, so that a later visit has the same order.
      for (const picture of [...fresh].reverse()) {
        const kept = /** @type {Partial<Picture>} */ ({ ...picture });
        delete kept.url;
        delete kept.id;
        picture.id = await this.store.put(/** @type {Picture} */ (kept));
        // It may have been deleted meanwhile.
        if (!this.tiles.pictures.includes(picture)) await this.store.remove(picture.id);
      }
      for (const picture of old) await this.store.remove(picture.id);
    } catch {
      part('history-empty').textContent = say('history_full');
      part('history-empty').hidden = false;
    }
  }

  /** @param {Picture[]} pictures */
  async remove(pictures) {
    this.forgetWaiting();
    const isAll = pictures.length === this.tiles.pictures.length;
    this.show(this.tiles.pictures.filter((picture) => !pictures.includes(picture)));
    this.onDelete(pictures);
    try {
      if (isAll) return await this.store.clear();
      for (const picture of pictures) await this.store.remove(picture.id);
    } catch {
      // Nothing was kept.
    }
  }

  askToClear() {
    part('confirm-question').textContent = say('delete_question', { count: this.tiles.pictures.length });
    element('confirm', HTMLDialogElement).returnValue = '';
    element('confirm', HTMLDialogElement).showModal();
  }

  /** Save all pictures, with their recipes, as one file. */
  async download() {
    this.settle();
    const pictures = this.tiles.pictures;
    const names = pictures.map(({ stem }, i) => `${String(pictures.length - i).padStart(4, '0')}-${stem}.png`);
    const files = pictures.map(({ blob }, i) => ({ name: names[i], blob }));
    const recipes = new Blob([JSON.stringify(pictures.map((one, i) => recipeOf(one, names[i])), null, 1)]);
    saveFile(await zip([...files, { name: 'recipes.json', blob: recipes }]), 'text2latent.zip');
  }

  /** @param {Picture[]} pictures */
  show(pictures) {
    this.tiles.show(pictures);
    part('history-count').textContent = pictures.length ? String(pictures.length) : '';
    part('history-empty').hidden = pictures.length > 0;
    button('download-all').disabled = button('delete-all').disabled = !pictures.length;
    this.mark(this.selected);
  }

  /** @param {Picture | null} selected */
  mark(selected) {
    this.selected = selected;
    this.tiles.mark(selected);
    button('delete-one').disabled = !selected || !this.tiles.pictures.includes(selected);
    const tile = this.tiles.buttons.find((one) => one.ariaPressed === 'true');
    if (tile) bringIntoView(this.tiles.container, tile);
  }
}

/**
 * Scroll a strip, and nothing else, so that a tile is seen.
 * @param {HTMLElement} strip
 * @param {HTMLElement} tile
 */
function bringIntoView(strip, tile) {
  const [left, right] = [tile.offsetLeft - strip.offsetLeft, tile.offsetLeft - strip.offsetLeft + tile.offsetWidth];
  if (left < strip.scrollLeft) strip.scrollLeft = left;
  else if (right > strip.scrollLeft + strip.clientWidth) strip.scrollLeft = right - strip.clientWidth;
}

/**
 * How a picture is drawn again.
 * @param {Picture} picture
 * @param {string} file
 */
function recipeOf({ prompt, kind, label, text, negative, model, seed, steps, guidance_scale, truncation, rerank, clip_score, command, python, needs }, file) {
  const settings = { model, seed, steps, guidance_scale, truncation, rerank, negative };
  return { file, prompt, kind, label, text, ...settings, clip_score, command, python, needs };
}
