// The line of a tab that says what was done, what is being done and how far it is, or what is wrong.

import { sayProblem } from './errors.js';
import { say } from './language.js';
import { part } from './elements.js';

const SLOW = 400; // milliseconds after which work is spoken of

export class Notice {
  /**
   * @param {string} id
   * @param {() => string} text What it says at first.
   */
  constructor(id, text) {
    this.line = part(id);
    this.line.role = 'status';
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** Says what is said, in the page's language. */
    this.retell = () => {};
    this.tell(text);
  }

  /**
   * @param {() => string} text Asked for anew in another language.
   * @param {'plain' | 'warning' | 'problem'} kind
   */
  tell(text, kind = 'plain') {
    clearTimeout(this.timer);
    this.retell = () => {
      const said = document.createElement('p');
      said.textContent = text();
      this.line.className = `notice ${kind}`;
      this.line.replaceChildren(said);
    };
    this.retell();
  }

  /** @param {unknown} error */
  complain(error) {
    this.tell(() => sayProblem(error), 'problem');
  }

  /**
   * Say that something is being done, once it takes a while; returns what shows how far it is.
   * @param {() => string} text
   * @param {() => void} onStop
   * @param {boolean} isLong Whether it surely takes a while.
   * @returns {(share: number, said: () => string) => void}
   */
  wait(text, onStop, isLong) {
    clearTimeout(this.timer);
    const words = document.createElement('span');
    const bar = document.createElement('progress');
    const stop = document.createElement('button');
    stop.type = 'button';
    stop.className = 'stop';
    stop.addEventListener('click', onStop);
    let said = text;
    const retell = () => {
      words.textContent = said();
      bar.setAttribute('aria-label', said());
      stop.textContent = say('stop');
    };
    this.timer = setTimeout(() => {
      this.retell = retell;
      retell();
      this.line.className = 'notice busy';
      this.line.replaceChildren(words, bar, stop);
    }, isLong ? 0 : SLOW);
    return (share, now) => {
      bar.value = share;
      const before = said();
      said = now;
      if (now() !== before) retell();
    };
  }
}
