// Texts as open_clip cleans them before it takes them apart: entities, look-alike characters, spaces and capitals.

/**
 * @typedef {object} CleaningTables
 * @property {Record<string, string>} characters Typographic variants, such as curly quotes, to what replaces them.
 * @property {Record<string, string>} entities HTML entities to their characters.
 * @property {Record<string, string>} references HTML's named characters, with and without a semicolon.
 */

const ENTITY = /&#?[0-9A-Za-z]{1,24};/g;
const REFERENCE = /&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)/g;
// Python's white space: JavaScript's own has the byte order mark besides, and lacks the separators of ASCII.
// eslint-disable-next-line no-control-regex
const SPACES = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/g;
const EDGES = new RegExp(`^${SPACES.source}|${SPACES.source}$`, 'g');
const PLAIN = /^[\x20-\x25\x27-\x7e]*$/;

/**
 * A text with its entities, typographic variants and spaces put right, in lower case.
 * @param {string} text
 * @param {CleaningTables} tables
 */
export function clean(text, tables) {
  const fixed = PLAIN.test(text) ? text : unescapeHtml(unescapeHtml(fix(text, tables), tables), tables);
  return strip(fixed.replace(SPACES, ' ')).toLowerCase();
}

/**
 * A text without the white space, as Python sees it, around it.
 * @param {string} text
 */
export function strip(text) {
  return text.replace(EDGES, '');
}

/**
 * @param {string} text
 * @param {CleaningTables} tables
 */
function fix(text, tables) {
  const isMarkup = text.includes('<');
  let before;
  while (text !== before) {
    before = text;
    text = isMarkup ? text : text.replace(ENTITY, (entity) => entityOf(entity, tables));
    text = Array.from(text, (character) => tables.characters[character] ?? character).join('').normalize('NFC');
  }
  return text;
}

/**
 * @param {string} entity
 * @param {CleaningTables} tables
 */
function entityOf(entity, tables) {
  if (!entity.startsWith('&#')) return own(tables.entities, entity) ?? entity;
  const character = unescapeHtml(entity, tables);
  return character.includes(';') ? entity : character;
}

/**
 * What HTML's section on named and numeric character references makes of a text, as Python's `html.unescape`.
 * @param {string} text
 * @param {CleaningTables} tables
 */
export function unescapeHtml(text, tables) {
  return text.replace(REFERENCE, (whole, /** @type {string} */ name) => {
    if (name.startsWith('#')) return characterOf(name.replace(/;$/, '').slice(1));
    const known = own(tables.references, name);
    if (known !== undefined) return known;
    const characters = Array.from(name);
    for (let length = characters.length - 1; length > 1; length--) {
      const start = own(tables.references, characters.slice(0, length).join(''));
      if (start !== undefined) return start + characters.slice(length).join('');
    }
    return whole;
  });
}

/**
 * The character of a number, `x` before hexadecimal digits; what HTML has for numbers that are none.
 * @param {string} digits
 */
function characterOf(digits) {
  const number = /^x/i.test(digits) ? parseInt(digits.slice(1), 16) : parseInt(digits, 10);
  if (number === 0 || (number >= 0xd800 && number <= 0xdfff) || number > 0x10ffff) return '\ufffd';
  if (number >= 0x80 && number <= 0x9f) return new TextDecoder('windows-1252').decode(Uint8Array.of(number));
  return isNoCharacter(number) ? '' : String.fromCodePoint(number);
}

/** @param {number} number */
function isNoCharacter(number) {
  const isControl = (number < 0x20 && ![9, 10, 12, 13].includes(number)) || number === 0x7f;
  return isControl || (number >= 0xfdd0 && number <= 0xfdef) || (number & 0xfffe) === 0xfffe;
}

/**
 * The value of a key that a table has itself.
 * @param {Record<string, string>} table
 * @param {string} key
 * @returns {string | undefined}
 */
function own(table, key) {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}
