// Brings the parts of the page together.

import { Artist } from './artist.js';
import { Desk } from './desk.js';
import { button, element, part } from './elements.js';
import { followLanguage, say } from './language.js';
import { loadModel } from './model.js';
import { encodePng } from './png.js';
import { fileName, pngTexts } from './recipe.js';
import { Stage } from './stage.js';

/** @typedef {import('./model.js').Model} Model */
/** @typedef {import('./model.js').Device} Device */

const DOWNLOAD_MILLISECONDS = 60_000;

class Page {
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    /** @type {Device} */
    this.device = 'wasm';
    part('title').textContent = document.title = model.title;
    this.stage = new Stage(model.image_shape, () => this.showFacts());
    this.desk = new Desk(model, () => this.stage.setBusy(true), () => this.draw());
    const wanted = new URLSearchParams(location.search).get('device');
    this.artist = new Artist(model, wanted, {
      onProgress: showProgress,
      onReady: (device) => this.start(device),
      onBroken: (message) => {
        this.stage.setBusy(false);
        showBroken(message);
      },
      onPicture: ({ index, picture, milliseconds }, wish, seed) => {
        showProblem('');
        this.desk.adapt(milliseconds);
        this.stage.show(index, { picture, wish, seed, milliseconds });
      },
      onRefused: (problem) => showProblem(say(`problem_${problem}`)),
      onDone: () => this.stage.setBusy(false),
    });
    button('save').addEventListener('click', () => void this.save());
    button('only').addEventListener('click', () => this.keepSelected());
  }

  /** @param {Device} device */
  start(device) {
    this.device = device;
    part('loading').hidden = true;
    this.draw();
    void workOffline();
  }

  draw() {
    this.stage.setBusy(true);
    this.stage.arrange(this.desk.count);
    button('only').hidden = this.desk.count === 1;
    this.artist.draw(this.desk.wish, this.desk.seeds);
  }

  /** What is known of the selected picture. */
  showFacts() {
    const shown = this.stage?.shown;
    button('save').disabled = !shown;
    if (!shown) return;
    const milliseconds = Math.round(shown.milliseconds);
    part('facts').textContent = say(this.device === 'webgpu' ? 'facts_webgpu' : 'facts', { seed: shown.seed, milliseconds });
  }

  /** Go on with the selected one of four pictures. */
  keepSelected() {
    const { shown } = this.stage;
    if (!shown) return;
    this.stage.show(0, shown);
    this.desk.seed = shown.seed;
    this.desk.count = 1;
    this.draw();
  }

  async save() {
    const { shown } = this.stage;
    if (!shown) return;
    const file = await encodePng(shown.picture, pngTexts(this.model, shown.wish, shown.seed));
    const link = document.createElement('a');
    link.href = URL.createObjectURL(file);
    link.download = fileName(shown.wish, shown.seed);
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), DOWNLOAD_MILLISECONDS);
  }

  /** Say all that scripts say in the page's language. */
  retell() {
    this.stage.rename();
    this.desk.showExamples();
    this.showFacts();
  }
}

/**
 * @param {number} loaded Bytes.
 * @param {number} total Bytes.
 */
function showProgress(loaded, total) {
  const bar = element('progress', HTMLProgressElement);
  const megabytes = (/** @type {number} */ bytes) => (bytes / 1e6).toFixed(1);
  bar.max = total;
  bar.value = loaded;
  const gaps = { loaded: megabytes(loaded), total: megabytes(total) };
  part('loading-text').textContent = loaded < total ? say('loading_bytes', gaps) : say('preparing');
}

/** @param {string} message */
function showBroken(message) {
  part('loading').hidden = true;
  showProblem(say('broken', { message }));
}

/** @param {string} line */
function showProblem(line) {
  part('problem').textContent = line;
}

/** Browsers let pages do so that came over https, or from this machine. */
async function workOffline() {
  if (!('serviceWorker' in navigator)) return;
  try {
    await navigator.serviceWorker.register('service-worker.js');
    await navigator.serviceWorker.ready;
    part('offline').hidden = false;
  } catch {
    part('offline').hidden = true;
  }
}

/** @type {Page | undefined} */
let page;
followLanguage(() => page?.retell());
try {
  page = new Page(await loadModel());
} catch (error) {
  showBroken(String(error));
}
