// What the page says, in its language.

import { TEXTS } from './texts.js';
import { Translation } from './translation.js';

/** @typedef {import('./texts.js').TextName} TextName */

const translation = new Translation(TEXTS);

/**
 * @param {TextName} name
 * @param {Record<string, string | number>} [gaps]
 */
export const say = (name, gaps) => translation.say(name, gaps);

/** @param {() => void} onChange Called when another language has been chosen. */
export const followLanguage = (onChange) => translation.follow(onChange);
