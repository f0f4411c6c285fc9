// What the page says, in its language.

import { TEXTS } from './texts.js';
import { Translation } from './translation.js';

/** @typedef {import('./texts.js').TextName} TextName */

const SECOND = 1000;
const translation = new Translation(TEXTS);

/**
 * @param {TextName} name
 * @param {Record<string, string | number>} [gaps]
 */
export const say = (name, gaps) => translation.say(name, gaps);

/** @param {() => void} onChange Called when another language has been chosen. */
export const followLanguage = (onChange) => translation.follow(onChange);

/**
 * What is done, as the server calls it, in the page's language.
 * @param {string} what
 */
export const sayWork = (what) => say(what in TEXTS ? /** @type {TextName} */ (what) : 'drawing');

/** @param {number} seconds */
export function sayDuration(seconds) {
  return seconds < 1
    ? say('milliseconds', { value: Math.round(SECOND * seconds) })
    : say('seconds', { value: seconds.toFixed(1) });
}

/** @param {number | null} score */
export const sayScore = (score) => (score === null ? '–' : score.toFixed(2));
