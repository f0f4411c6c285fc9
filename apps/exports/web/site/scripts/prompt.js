// The grammar of prompts: `blonde woman:1.0 | glasses:0.5` is two parts with weights. See `infer`'s documentation.

import { strip } from './cleaning.js';

/** @typedef {{text: string, weight: number}} Part A text, and how much it counts; below zero, away from it. */
/** @typedef {'long' | 'control' | 'empty' | 'part' | 'weight' | 'sum' | 'cancel'} Problem */

const MAX_CHARACTERS = 2000;
const MAX_WEIGHT = 100;
const SPECIAL = '|｜:：\\\\';
const ESCAPE = /\\([|｜:：\\])/g;
const SIGN = '[+＋\\-－]?';
const POINT = '[.．]';

/**
 * Any characters but some, unless there is a backslash before them.
 * @param {string} without
 */
const characters = (without) => `(?:\\\\[${SPECIAL}]|\\\\(?![${SPECIAL}])|[^\\\\${without}])*`;

const PART = new RegExp(characters('|｜'), 'uy');
const WEIGHT = new RegExp(
  `^(${characters('')})[:：]\\s*(${SIGN}\\s*(?:\\p{Nd}+(?:${POINT}\\p{Nd}*)?|${POINT}\\p{Nd}+))\\s*$`,
  'u',
);

/** A text that can't be drawn, and why. */
export class PromptError extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem);
    this.problem = problem;
  }
}

/**
 * The parts of a prompt, at least one.
 * @param {string} prompt
 * @param {[number, number][]} wide Runs of wide characters, between which a comma is a wide one.
 * @returns {Part[]}
 * @throws {PromptError}
 */
export function parsePrompt(prompt, wide) {
  const checked = check(prompt);
  const parts = splitParts(checked);
  if (parts.length === 1) return [{ text: check(unescape(checked)), weight: 1 }];
  const read = parts.map(readPart);
  const joined = read.filter((part) => part.weight === undefined).map((part) => part.text);
  const comma = Array.from(joined.join('')).some((character) => isWide(character, wide)) ? '、' : ', ';
  const all = read.filter((part) => part.weight !== undefined);
  if (joined.length) all.unshift({ text: joined.join(comma), weight: 1 });
  const weighted = all.map(({ text, weight }) => ({ text: check(text), weight: weight ?? 1 }));
  if (!(weighted.reduce((sum, part) => sum + part.weight, 0) > 0)) throw new PromptError('sum');
  return weighted;
}

/**
 * A text without surrounding white space, if it can be a prompt.
 * @param {string} text
 */
function check(text) {
  if (Array.from(text).length > MAX_CHARACTERS) throw new PromptError('long');
  if (/\p{Cs}|(?![\t-\r])\p{Cc}/u.test(text)) throw new PromptError('control');
  if (/^[\p{Cc}\p{Cf}\p{Zs}\p{Zl}\p{Zp}]*$/u.test(text)) throw new PromptError('empty');
  return strip(text);
}

/**
 * Parts between the separators, with their weights and backslashes as they stand.
 * @param {string} text
 */
function splitParts(text) {
  const parts = [];
  for (let start = 0; start <= text.length; start = PART.lastIndex + 1) {
    PART.lastIndex = start;
    const found = PART.exec(text);
    parts.push(found ? found[0] : '');
    if (PART.lastIndex < start) break;
  }
  return parts;
}

/** @param {string} part */
function readPart(part) {
  const found = WEIGHT.exec(part);
  const text = unescape(strip(found ? found[1] : part));
  if (!text) throw new PromptError('part');
  const weight = found ? Number(found[2].normalize('NFKC').replace(/\s/g, '')) : undefined;
  if (weight !== undefined && !(Math.abs(weight) <= MAX_WEIGHT)) throw new PromptError('weight');
  return { text, weight };
}

/** @param {string} text */
function unescape(text) {
  return text.replace(ESCAPE, '$1');
}

/**
 * @param {string} character
 * @param {[number, number][]} wide
 */
function isWide(character, wide) {
  const number = character.codePointAt(0) ?? 0;
  return wide.some(([first, last]) => first <= number && number <= last);
}
