// What the tabs share.

import { say } from './language.js';

/** @typedef {import('./history.js').History} History */
/** @typedef {import('./notice.js').Notice} Notice */
/** @typedef {import('./pictures.js').Picture} Picture */
/** @typedef {import('./selection.js').Selection} Selection */
/** @typedef {import('./settings.js').Settings} Settings */
/** @typedef {import('./tabs.js').Tabs} Tabs */
/** @typedef {import('./tiles.js').Tiles} Tiles */

export class Desk {
  /**
   * @param {Settings} settings
   * @param {Selection} selection
   * @param {History} history
   * @param {Tabs} tabs
   */
  constructor(settings, selection, history, tabs) {
    this.settings = settings;
    this.selection = selection;
    this.history = history;
    this.tabs = tabs;
  }

  /**
   * Select a picture that somebody has chosen.
   * @param {Picture} picture
   * @param {Tiles} tiles Where it stands.
   */
  choose(picture, tiles) {
    this.history.settle();
    this.selection.select(picture, tiles);
  }

  /**
   * Say what was done, or warn of a text beyond what the model draws.
   * @param {Notice} notice
   * @param {[number, number] | null} outside
   * @param {() => string} text
   */
  noteOutside(notice, outside, text) {
    if (outside) notice.tell(() => say('outside', { value: outside[0], threshold: outside[1] }), 'warning');
    else notice.tell(text);
  }
}
