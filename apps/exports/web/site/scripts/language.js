// The page's language: the visitor's own, until they choose another.

import { recall, remember } from './memory.js';
import { TEXTS } from './texts.js';

/** @typedef {import('./texts.js').Language} Language */
/** @typedef {import('./texts.js').TextName} TextName */

const KEPT = 'text2latent language';
const JAPANESE = /[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]/;

/** @returns {Language} */
export function currentLanguage() {
  return document.documentElement.lang === 'ja' ? 'ja' : 'en';
}

/**
 * A text of the page with its gaps, such as `{seed}`, filled in.
 * @param {TextName} name
 * @param {Record<string, string | number>} gaps
 */
export function say(name, gaps = {}) {
  const text = TEXTS[name][currentLanguage() === 'ja' ? 1 : 0];
  return text.replace(/\{(\w+)\}/g, (_, /** @type {string} */ gap) => String(gaps[gap]));
}

/**
 * Those of some texts that are in the page's language, or all where none is.
 * @param {string[]} texts
 */
export function ownTexts(texts) {
  const own = texts.filter((text) => JAPANESE.test(text) === (currentLanguage() === 'ja'));
  return own.length ? own : texts;
}

/**
 * Write the page's texts, and again whenever another language is chosen.
 * @param {() => void} onChange Called after that.
 */
export function followLanguage(onChange) {
  const kept = recall(KEPT) ?? navigator.language;
  write(kept.startsWith('ja') ? 'ja' : 'en');
  for (const button of languageButtons()) {
    button.addEventListener('click', () => {
      remember(KEPT, button.value);
      write(button.value === 'ja' ? 'ja' : 'en');
      onChange();
    });
  }
}

/** @param {Language} language */
function write(language) {
  document.documentElement.lang = language;
  for (const button of languageButtons()) button.setAttribute('aria-pressed', String(button.value === language));
  fill('text', (element, text) => (element.textContent = text));
  fill('label', (element, text) => element.setAttribute('aria-label', text));
  fill('title', (element, text) => element.setAttribute('title', text));
  fill('hint', (element, text) => element.setAttribute('placeholder', text));
}

/**
 * @param {string} kind Of the attribute `data-KIND`, which names a text.
 * @param {(element: HTMLElement, text: string) => void} put
 */
function fill(kind, put) {
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(`[data-${kind}]`))) {
    put(element, say(/** @type {TextName} */ (element.dataset[kind])));
  }
}

function languageButtons() {
  return /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll('#languages button'));
}
