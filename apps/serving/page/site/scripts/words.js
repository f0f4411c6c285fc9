// Chips that write words into the text: of each group, the text has one at a time.

import { part } from './elements.js';
import { currentLanguage, isJapanese, ownTexts } from './translation.js';

/** @typedef {import('./server.js').Said} Said */
/** @typedef {{ name: Said, words: Said[] }} Group */

export class Words {
  /**
   * @param {HTMLTextAreaElement} box
   * @param {() => void} onChange
   */
  constructor(box, onChange) {
    this.box = box;
    this.onChange = onChange;
    /** @type {Group[]} */
    this.groups = [];
    /** @type {string[]} */
    this.examples = [];
    /** @type {number | null} The group whose words are shown. */
    this.open = null;
    /** @type {(text: string) => void} */
    this.onExample = () => {};
  }

  /**
   * @param {Group[]} groups
   * @param {string[]} examples
   */
  offer(groups, examples) {
    this.groups = groups;
    this.examples = examples;
    this.open = null;
    this.retell();
  }

  retell() {
    part('words').hidden = !this.groups.length;
    part('examples').hidden = !this.examples.length;
    part('examples').replaceChildren(...this.ownExamplesFirst().map((text) => chip(text, () => this.onExample(text))));
    part('word-groups').replaceChildren(
      ...this.groups.map(({ name }, i) => chip(name[currentLanguage()], () => this.unfold(i === this.open ? null : i))),
    );
    this.unfold(this.open);
  }

  ownExamplesFirst() {
    const own = ownTexts(this.examples);
    return [...own, ...this.examples.filter((text) => !own.includes(text))];
  }

  /** @param {number | null} index Of the group whose words are shown; null shows none. */
  unfold(index) {
    this.open = index;
    for (const [i, one] of [...part('word-groups').children].entries()) one.ariaExpanded = String(i === index);
    const words = this.openWords;
    part('word-chips').hidden = !words.length;
    part('word-chips').replaceChildren(
      ...words.map((word) => chip(word[currentLanguage()], () => this.toggle(words, word))),
    );
    this.mark();
  }

  get openWords() {
    return this.open === null ? [] : this.groups[this.open].words;
  }

  /** Show which words the text has. */
  mark() {
    const words = this.openWords;
    for (const [i, one] of [...part('word-chips').children].entries()) {
      one.ariaPressed = String(this.spelling(words[i]) !== null);
    }
  }

  /**
   * How the text has a word, if it has it.
   * @param {Said} word
   */
  spelling(word) {
    const found = [word.en, word.ja].map((spelled) => formOf(spelled).exec(this.box.value)?.[0]);
    return found[0] ?? found[1] ?? null;
  }

  /**
   * Put a word into the text, in the place of another of its group, or take it away.
   * @param {Said[]} words
   * @param {Said} word
   */
  toggle(words, word) {
    const before = this.box.value;
    const there = this.spelling(word);
    const other = words.map((one) => this.spelling(one)).find((spelled) => spelled !== null);
    const spelled = isJapanese(before) || (!before.trim() && currentLanguage() === 'ja') ? word.ja : word.en;
    if (there) this.box.value = without(before, there);
    else if (other) this.box.value = before.replace(formOf(other), spelled);
    else this.box.value = withWord(before, spelled);
    this.onChange();
  }
}

/**
 * What finds a word in a text, but not inside another word.
 * @param {string} word
 */
function formOf(word) {
  const escaped = word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return isJapanese(word) ? new RegExp(escaped) : new RegExp(`(?<![\\w-])${escaped}(?![\\w-])`, 'i');
}

/**
 * @param {string} text
 * @param {string} word
 */
function withWord(text, word) {
  const start = text.trim();
  if (!start) return word;
  return isJapanese(start + word) ? `${start}、${word}` : `${start}, ${word}`;
}

/**
 * @param {string} text
 * @param {string} word
 */
function without(text, word) {
  const rest = text.replace(formOf(word), '');
  return rest
    .replace(/\s*([,、])\s*(?=[,、])/g, '')
    .replace(/^[\s,、]+|[\s,、]+$/g, '')
    .replace(/ {2,}/g, ' ');
}

/**
 * @param {string} text
 * @param {() => void} onClick
 */
function chip(text, onClick) {
  const made = document.createElement('button');
  made.type = 'button';
  made.textContent = text;
  if (isJapanese(text)) made.lang = 'ja';
  made.addEventListener('click', onClick);
  return made;
}
