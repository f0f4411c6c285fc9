// Brings the parts of the page together.

import { CompareTab } from './compare_tab.js';
import { Desk } from './desk.js';
import { DrawTab } from './draw_tab.js';
import { EditTab } from './edit_tab.js';
import { button, part } from './elements.js';
import { sayProblem } from './errors.js';
import { History } from './history.js';
import { followLanguage } from './language.js';
import { MixTab } from './mix_tab.js';
import { Selection } from './selection.js';
import { askSettings, askWorld } from './server.js';
import { Settings } from './settings.js';
import { Tabs } from './tabs.js';
import { UploadTab } from './upload_tab.js';

class Page {
  /** @param {import('./server.js').ServerSettings} server */
  constructor(server) {
    part('version').textContent = `text2latent ${server.version}`;
    this.selection = new Selection();
    this.history = new History(
      (picture) => this.desk.choose(picture, this.history.tiles),
      (pictures) => this.forget(pictures),
    );
    this.settings = new Settings(server, () => this.draw.adapt(), () => void this.change());
    this.tabs = new Tabs(() => {});
    this.desk = new Desk(this.settings, this.selection, this.history, this.tabs);
    this.draw = new DrawTab(this.desk);
    this.mix = new MixTab(this.desk);
    this.edit = new EditTab(this.desk);
    this.compare = new CompareTab(this.desk);
    this.upload = new UploadTab(this.desk);
    this.listen();
  }

  /** Show what the server and the browser keep; all that is asked for has its place then. */
  async load() {
    await Promise.all([this.offer(), this.history.load()]);
  }

  /** All that shows pictures. */
  get tiles() {
    const { draw, mix, compare, upload } = this;
    return [draw.tiles, mix.tiles, compare.prior, compare.optimised, upload.tiles];
  }

  listen() {
    this.selection.follow((picture) => {
      for (const tiles of this.tiles) tiles.mark(picture);
      this.history.mark(picture);
    });
    this.draw.words.onExample = (text) => void this.draw.drawText(text);
    button('use-seed').addEventListener('click', () => {
      if (this.selection.picture) this.settings.lock(this.selection.picture.seed);
    });
    button('use-text').addEventListener('click', () => this.takeUp());
    for (const box of document.querySelectorAll('textarea')) sendWithEnter(box);
    const { draw, mix, edit, compare, upload } = this;
    part('stage').addEventListener('keydown', (event) => {
      if (event.key === 'Escape') ({ draw, mix, edit, compare, upload })[this.tabs.open].worker.stopAndTell();
    });
  }

  /** Write the selected picture's text, and set what it was drawn with. */
  takeUp() {
    const { picture } = this.selection;
    if (!picture) return;
    this.tabs.go('draw');
    if (picture.is_of_text) this.settings.take(picture);
    this.draw.prompt.value = picture.prompt;
    this.draw.type();
    this.draw.prompt.focus();
  }

  /** Another model is chosen. */
  async change() {
    await this.offer();
    this.draw.adapt();
  }

  /** Offer what is known of the model's world. */
  async offer() {
    this.draw.noteLive(null);
    try {
      const { examples, chips = [], sliders = [] } = await askWorld(this.settings.model);
      this.draw.words.offer(chips, examples);
      this.edit.sliders.offer(sliders);
    } catch (error) {
      this.draw.words.offer([], []);
      this.edit.sliders.offer([]);
      this.draw.notice.complain(error);
    }
  }

  /**
   * Pictures have been deleted.
   * @param {import('./pictures.js').Picture[]} pictures
   */
  forget(pictures) {
    const { picture } = this.selection;
    if (picture && pictures.includes(picture)) this.selection.select(null);
  }

  /** Say all that scripts say in the page's language. */
  retell() {
    for (const one of [this.draw, this.mix, this.edit, this.compare, this.upload, this.selection]) one.retell();
    this.history.tiles.retell();
  }
}

/**
 * Enter sends a text off; with Shift, it makes a new line.
 * @param {HTMLTextAreaElement} box
 */
function sendWithEnter(box) {
  box.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    box.form?.requestSubmit();
  });
}

async function open() {
  try {
    page = new Page(await askSettings());
    await page.load();
    document.documentElement.dataset.ready = 'yes';
  } catch (error) {
    part('notice').textContent = sayProblem(error);
  }
}

/** @type {Page | undefined} */
let page;
followLanguage(() => page?.retell());
await open();
