// A page's texts in English and Japanese, in the visitor's own language until they choose another.

import { recall, remember } from './memory.js';

/** @typedef {'en' | 'ja'} Language */
/** @typedef {Record<string, [string, string]>} Texts English and Japanese by name. */

const KEPT = 'text2latent language';
const JAPANESE = /[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]/;

/** @returns {Language} */
export function currentLanguage() {
  return document.documentElement.lang === 'ja' ? 'ja' : 'en';
}

/**
 * Those of some texts that are in the page's language, or all where none is.
 * @param {string[]} texts
 */
export function ownTexts(texts) {
  const own = texts.filter((text) => isJapanese(text) === (currentLanguage() === 'ja'));
  return own.length ? own : texts;
}

/** @param {string} text */
export const isJapanese = (text) => JAPANESE.test(text);

/** @template {Texts} T */
export class Translation {
  /** @param {T} texts */
  constructor(texts) {
    this.texts = texts;
  }

  /**
   * A text with its gaps, such as `{seed}`, filled in.
   * @param {keyof T} name
   * @param {Record<string, string | number>} gaps
   */
  say(name, gaps = {}) {
    const text = this.texts[name][currentLanguage() === 'ja' ? 1 : 0];
    return text.replace(/\{(\w+)\}/g, (_, /** @type {string} */ gap) => String(gaps[gap]));
  }

  /**
   * Write the document's texts, and again whenever another language is chosen.
   * @param {() => void} onChange Called after that.
   */
  follow(onChange) {
    const kept = recall(KEPT) ?? navigator.language;
    this.write(kept.startsWith('ja') ? 'ja' : 'en');
    for (const button of languageButtons()) {
      button.addEventListener('click', () => {
        remember(KEPT, button.value);
        this.write(button.value === 'ja' ? 'ja' : 'en');
        onChange();
      });
    }
  }

  /** @param {Language} language */
  write(language) {
    document.documentElement.lang = language;
    for (const button of languageButtons()) button.setAttribute('aria-pressed', String(button.value === language));
    this.fill('text', (element, text) => (element.textContent = text));
    this.fill('label', (element, text) => element.setAttribute('aria-label', text));
    this.fill('title', (element, text) => element.setAttribute('title', text));
    this.fill('hint', (element, text) => element.setAttribute('placeholder', text));
  }

  /**
   * @param {string} kind Of the attribute `data-KIND`, which names a text.
   * @param {(element: HTMLElement, text: string) => void} put
   */
  fill(kind, put) {
    for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(`[data-${kind}]`))) {
      put(element, this.say(/** @type {keyof T} */ (element.dataset[kind])));
    }
  }
}

function languageButtons() {
  return /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll('#languages button'));
}
