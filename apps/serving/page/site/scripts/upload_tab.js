// A picture as the prompt, alone or mixed with a text; or found in the model's world, so that it can be edited.

import { Complaint } from './errors.js';
import { button, element, input, part, textArea } from './elements.js';
import { say, sayDuration } from './language.js';
import { Notice } from './notice.js';
import { receive, reveal } from './pictures.js';
import { sayCount, withPicture } from './draw_tab.js';
import { Tiles } from './tiles.js';
import { Worker } from './work.js';

/** @typedef {import('./desk.js').Desk} Desk */
/** @typedef {import('./server.js').Drawn} Drawn */

export class UploadTab {
  /** @param {Desk} desk */
  constructor(desk) {
    this.desk = desk;
    this.notice = new Notice('upload-notice', () => say('upload_ready'));
    this.tiles = new Tiles(part('upload-gallery'), (picture) => desk.choose(picture, this.tiles));
    this.worker = new Worker(this.notice, part('upload-gallery'));
    /** @type {File | null} */
    this.file = null;
    this.listen();
  }

  listen() {
    const [drop, chooser] = [part('upload-image'), input('upload-file')];
    chooser.addEventListener('change', () => this.take(chooser.files?.[0]));
    drop.addEventListener('dragover', (event) => event.preventDefault());
    drop.addEventListener('drop', (event) => {
      event.preventDefault();
      this.take(event.dataTransfer?.files[0]);
    });
    document.addEventListener('paste', (event) => {
      if (this.desk.tabs.open === 'upload') this.take(event.clipboardData?.files[0]);
    });
    element('upload-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      void this.vary();
    });
    button('upload-find').addEventListener('click', () => void this.find());
  }

  /** @param {File | undefined} file */
  take(file) {
    if (!file) return;
    this.file = file;
    const image = part('upload-image').querySelector('img') ?? document.createElement('img');
    URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(file);
    image.alt = say('uploaded', { name: file.name });
    part('upload-image').prepend(image);
  }

  get name() {
    return this.file?.name.replace(/\.[^.]*$/, '').slice(-100) || 'picture';
  }

  async vary() {
    const { desk, file, name } = this;
    if (!file) return this.notice.complain(new Complaint('problem_no_file'));
    desk.settings.renewUnlessLocked();
    const prompt = textArea('upload-prompt').value.trim();
    const more = { prompt, image_weight: input('image-weight').valueAsNumber, image_name: name };
    const asked = async () => withPicture(file, { ...desk.settings.values, ...more });
    await this.worker.start('vary', asked, (/** @type {Drawn} */ result) => {
      this.show(result, 'upload', prompt || name);
      const { pictures, seconds } = result;
      desk.noteOutside(this.notice, pictures[0].outside, () => sayCount('pictures', pictures.length, seconds));
    });
  }

  async find() {
    const { desk, file, name } = this;
    if (!file) return this.notice.complain(new Complaint('problem_no_file'));
    const asked = async () => withPicture(file, { ...desk.settings.values, image_name: name });
    await this.worker.start('find', asked, (/** @type {Drawn} */ result) => {
      this.show(result, 'found', name);
      this.notice.tell(() => say('found', { time: sayDuration(result.seconds) }));
    }, { isLong: true });
  }

  /**
   * @param {Drawn} result
   * @param {import('./pictures.js').Kind} kind
   * @param {string} prompt
   */
  show({ pictures: served }, kind, prompt) {
    const pictures = served.map((one) => receive(one, kind, prompt));
    this.tiles.show(pictures);
    this.desk.history.add(pictures);
    this.desk.selection.select(pictures[0], this.tiles);
    reveal(part('upload-gallery'));
  }

  retell() {
    this.notice.retell();
    this.tiles.retell();
  }
}
