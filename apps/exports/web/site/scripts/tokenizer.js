// CLIP's tokenizer: byte-pair encoding (arXiv:1508.07909) of lower-case text, with open_clip's vocabulary.

import { clean } from './cleaning.js';

/**
 * @typedef {import('./cleaning.js').CleaningTables & {merges: string, wide: [number, number][]}} TokenizerFile
 * `merges` has a line for each pair of tokens that become one, in the order in which they do; `wide` has the first and
 * last number of each run of wide characters.
 */

const WORD_END = '</w>';
const SPECIALS = ['<start_of_text>', '<end_of_text>'];
// The long s is a case of s. The combining iota is a case of a letter but none itself, and falls between all kinds.
const WORDS = /<start_of_text>|<end_of_text>|'[sſ]|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^ \p{L}\p{N}\u0345]+/gu;

export class Tokenizer {
  /**
   * @param {TokenizerFile} file
   * @param {number} contextLength Tokens of a text with its start and end.
   */
  constructor(file, contextLength) {
    const pairs = file.merges.split('\n');
    const bytes = byteSymbols();
    const single = byteOrder().map((byte) => bytes[byte]);
    const tokens = [...single, ...single.map((symbol) => symbol + WORD_END), ...pairs.map((pair) => pair.replace(' ', '')), ...SPECIALS];
    this.tables = file;
    this.contextLength = contextLength;
    this.bytes = bytes;
    this.numbers = new Map(tokens.map((token, number) => [token, number]));
    this.ranks = new Map(pairs.map((pair, rank) => [pair, rank]));
    /** @type {Map<string, number[]>} */
    this.cache = new Map(SPECIALS.map((token) => [token, [this.numberOf(token)]]));
  }

  /**
   * Tokens of a text: its start, itself, its end, then zeros; a text that is too long loses its end.
   * @param {string} text
   */
  encode(text) {
    const words = clean(text, this.tables).match(WORDS) ?? [];
    const inside = words.flatMap((word) => this.encodeWord(word)).slice(0, this.contextLength - 2);
    const [start, end] = SPECIALS.map((token) => this.numberOf(token));
    const row = new BigInt64Array(this.contextLength);
    row.set([start, ...inside, end].map(BigInt));
    return row;
  }

  /** @param {string} word */
  encodeWord(word) {
    const known = this.cache.get(word);
    if (known) return known;
    const tokens = this.split(word).map((symbol) => this.numberOf(symbol));
    this.cache.set(word, tokens);
    return tokens;
  }

  /**
   * The tokens that a word is of: its bytes, of which pairs become one while there are any to merge.
   * @param {string} word
   */
  split(word) {
    let symbols = Array.from(new TextEncoder().encode(word), (byte) => this.bytes[byte]);
    symbols[symbols.length - 1] += WORD_END;
    for (;;) {
      const pair = this.nextPair(symbols);
      if (pair === undefined) return symbols;
      symbols = merge(symbols, pair);
    }
  }

  /**
   * The pair of neighbours whose turn comes first, if any.
   * @param {string[]} symbols
   */
  nextPair(symbols) {
    let [best, first] = [Infinity, /** @type {string | undefined} */ (undefined)];
    for (let i = 1; i < symbols.length; i++) {
      const pair = `${symbols[i - 1]} ${symbols[i]}`;
      const rank = this.ranks.get(pair) ?? Infinity;
      if (rank < best) [best, first] = [rank, pair];
    }
    return first;
  }

  /** @param {string} token */
  numberOf(token) {
    return /** @type {number} */ (this.numbers.get(token));
  }
}

/**
 * Symbols with every occurrence of a pair made one, from left to right.
 * @param {string[]} symbols
 * @param {string} pair
 */
function merge(symbols, pair) {
  /** @type {string[]} */
  const merged = [];
  for (const symbol of symbols) {
    const last = merged.length - 1;
    if (last >= 0 && `${merged[last]} ${symbol}` === pair) merged[last] += symbol;
    else merged.push(symbol);
  }
  return merged;
}

/** All bytes in the vocabulary's order: those that are visible characters first. */
function byteOrder() {
  const all = Array.from({ length: 256 }, (_, byte) => byte);
  const isVisible = (/** @type {number} */ byte) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  return [...all.filter(isVisible), ...all.filter((byte) => !isVisible(byte))];
}

/** A visible character for each byte: its own, or else one from 256 on. */
function byteSymbols() {
  const order = byteOrder();
  const firstHidden = order.indexOf(0);
  /** @type {string[]} */
  const symbols = [];
  order.forEach((byte, i) => {
    symbols[byte] = String.fromCharCode(i < firstHidden ? byte : 256 + i - firstHidden);
  });
  return symbols;
}
