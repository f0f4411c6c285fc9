// The selected picture: large, with what is known of it, and what can be made of it.

import { button, element, part } from './elements.js';
import { say, sayDuration, sayScore } from './language.js';
import { moveBy } from './keys.js';
import { saveFile, startOf } from './pictures.js';
import { askLatents } from './server.js';

/** @typedef {import('./pictures.js').Picture} Picture */
/** @typedef {import('./tiles.js').Tiles} Tiles */

const ACTIONS = ['vary', 'refine', 'edit-this', 'mix-this', 'use-seed', 'use-text', 'save-png', 'save-latents'];
const COPIED_MILLISECONDS = 1500;

export class Selection {
  constructor() {
    /** @type {Picture | null} */
    this.picture = null;
    /** @type {((picture: Picture | null) => void)[]} */
    this.listeners = [];
    /** @type {Tiles | null} Where it was chosen, to go on from in the large view. */
    this.tiles = null;
    this.large = element('large', HTMLDialogElement);
    button('selected-picture').addEventListener('click', () => this.enlarge());
    this.large.addEventListener('keydown', (event) => this.turn(event));
    this.large.addEventListener('click', (event) => {
      if (event.target === this.large) this.large.close();
    });
    button('save-png').addEventListener('click', () => {
      if (this.picture) saveFile(this.picture.blob, `${this.picture.stem}.png`);
    });
    button('save-latents').addEventListener('click', () => void this.saveLatents());
    for (const name of ['command', 'python']) button(`copy-${name}`).addEventListener('click', () => void copy(name));
    this.retell();
  }

  /**
   * Call something whenever another picture is selected, or none.
   * @param {(picture: Picture | null) => void} listener
   */
  follow(listener) {
    this.listeners.push(listener);
  }

  /**
   * @param {Picture | null} picture
   * @param {Tiles | null} [tiles] Where it stands.
   */
  select(picture, tiles = null) {
    this.picture = picture;
    this.tiles = tiles;
    this.retell();
    for (const listener of this.listeners) listener(picture);
  }

  /** Write all in the page's language. */
  retell() {
    const { picture } = this;
    for (const id of ACTIONS) button(id).disabled = !picture;
    button('selected-picture').disabled = !picture;
    part('selected-facts').replaceChildren(...(picture ? factsOf(picture) : [paragraph(say('nothing_selected'), 'info')]));
    button('selected-picture').replaceChildren(...(picture ? [imageOf(picture)] : []));
    part('reproduce').hidden = part('refine-settings').hidden = !picture;
    if (picture) this.showRecipe(picture);
    if (picture && this.large.open) this.showLarge(picture);
  }

  /** @param {Picture} picture */
  showRecipe({ command, python, needs }) {
    part('needs').textContent = needs ? say('needs', { what: needs }) : '';
    part('needs').hidden = !needs;
    part('command-part').hidden = !command;
    part('command').textContent = command;
    part('python').textContent = python;
  }

  enlarge() {
    if (!this.picture) return;
    this.showLarge(this.picture);
    this.large.showModal();
  }

  /** @param {Picture} picture */
  showLarge(picture) {
    const image = element('large-picture', HTMLImageElement);
    image.src = picture.url;
    image.alt = altOf(picture);
    part('large-caption').textContent = captionOf(picture);
  }

  /**
   * Go through the pictures in the large view.
   * @param {KeyboardEvent} event
   */
  turn(event) {
    if (!this.tiles || !this.picture) return;
    const { pictures } = this.tiles;
    const next = moveBy(event, pictures.indexOf(this.picture), pictures.length);
    if (next !== null) this.select(pictures[next], this.tiles);
  }

  async saveLatents() {
    if (!this.picture) return;
    saveFile(await askLatents(await startOf(this.picture)), `${this.picture.stem}.npz`);
  }
}

/** @param {Picture} picture */
const altOf = ({ prompt, seed }) => say('picture_name', { index: 1, count: 1, text: prompt, seed });

/** @param {Picture} picture */
const captionOf = ({ prompt, clip_score, seed, seconds }) =>
  `${prompt} · ${say('caption', { score: sayScore(clip_score), seed, time: sayDuration(seconds) })}`;

/** @param {Picture} picture */
function imageOf(picture) {
  const image = document.createElement('img');
  image.src = picture.url;
  image.alt = altOf(picture);
  return image;
}

/** @param {Picture} picture */
function factsOf(picture) {
  const { prompt, kind, clip_score, seed, seconds } = picture;
  const list = document.createElement('dl');
  const bar = document.createElement('meter');
  bar.ariaLabel = say('score');
  bar.value = Math.max(0, clip_score ?? 0);
  list.append(
    ...fact(say('kind'), say(`kind_${kind}`)),
    ...fact(say('score'), sayScore(clip_score), bar),
    ...fact(say('seed'), String(seed)),
    ...fact(say('time'), sayDuration(seconds)),
  );
  return [paragraph(prompt, 'text'), list];
}

/**
 * @param {string} name
 * @param {string} value
 * @param {Element[]} more
 */
function fact(name, value, ...more) {
  const [term, description] = [document.createElement('dt'), document.createElement('dd')];
  term.textContent = name;
  description.append(value, ...more);
  return [term, description];
}

/**
 * @param {string} text
 * @param {string} kind
 */
function paragraph(text, kind) {
  const line = document.createElement('p');
  line.className = kind;
  line.textContent = text;
  return line;
}

/** @param {string} name */
async function copy(name) {
  try {
    await navigator.clipboard.writeText(part(name).textContent ?? '');
  } catch {
    // Browsers let only pages that came safely write to the clipboard; on others, the visitor copies what is marked.
    getSelection()?.selectAllChildren(part(name));
    return;
  }
  const pressed = button(`copy-${name}`);
  pressed.textContent = say('copied');
  setTimeout(() => (pressed.textContent = say('copy')), COPIED_MILLISECONDS);
}
