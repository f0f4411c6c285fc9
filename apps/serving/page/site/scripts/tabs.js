// The tabs: one is open, arrow keys go through them, and settings that it ignores are hidden.

import { button, part } from './elements.js';
import { moveBy } from './keys.js';

export const TABS = /** @type {const} */ (['draw', 'mix', 'edit', 'compare', 'upload']);
/** @typedef {(typeof TABS)[number]} Tab */

export class Tabs {
  /** @param {(tab: Tab) => void} onOpen */
  constructor(onOpen) {
    this.onOpen = onOpen;
    /** @type {Tab} */
    this.open = 'draw';
    for (const tab of TABS) button(`tab-${tab}`).addEventListener('click', () => this.go(tab));
    part('tabs').addEventListener('keydown', (event) => {
      const next = moveBy(event, TABS.indexOf(this.open), TABS.length);
      if (next === null) return;
      this.go(TABS[next]);
      button(`tab-${TABS[next]}`).focus();
    });
    this.go('draw');
  }

  /** @param {Tab} tab */
  go(tab) {
    this.open = tab;
    document.body.dataset.tab = tab;
    for (const one of TABS) {
      const isOpen = one === tab;
      part(`${one}-panel`).hidden = !isOpen;
      button(`tab-${one}`).setAttribute('aria-selected', String(isOpen));
      button(`tab-${one}`).tabIndex = isOpen ? 0 : -1;
    }
    for (const field of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-tabs]'))) {
      field.hidden = !field.dataset.tabs?.split(' ').includes(tab);
    }
    this.onOpen(tab);
  }
}
