// PNG files (W3C's Portable Network Graphics, third edition) of exactly the levels that were drawn. A canvas might change
// them: some browsers do so, lest pages recognise visitors.

import { checksum } from './checksum.js';

/** @typedef {import('./painter.js').Picture} Picture */

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const COLOUR_TYPES = [0, 0, 4, 2, 6];
const LATIN_1_END = 0x100;

/**
 * @param {Picture} picture Of one channel, three or four.
 * @param {Record<string, string>} texts Keywords to texts.
 */
export async function encodePng(picture, texts) {
  const { width, height, channels } = picture;
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, COLOUR_TYPES[channels]], 8);
  const chunks = [
    chunk('IHDR', header),
    ...Object.entries(texts).map(([keyword, text]) => textChunk(keyword, text)),
    chunk('IDAT', await deflate(scanlines(picture))),
    chunk('IEND', new Uint8Array()),
  ];
  return new Blob([Uint8Array.from(SIGNATURE), ...chunks], { type: 'image/png' });
}

/**
 * Rows of pixels, each after the number of its filter, which is none.
 * @param {Picture} picture
 */
function scanlines({ width, height, channels, levels }) {
  const stride = 1 + width * channels;
  const rows = new Uint8Array(height * stride);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const pixel = y * stride + 1 + x * channels;
      for (let c = 0; c < channels; c++) rows[pixel + c] = levels[(c * height + y) * width + x];
    }
  }
  return rows;
}

/** @param {Uint8Array<ArrayBuffer>} data */
async function deflate(data) {
  const packed = new Blob([data]).stream().pipeThrough(new CompressionStream('deflate'));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}

/**
 * A text in Latin-1, or else in UTF-8.
 * @param {string} keyword
 * @param {string} text
 */
function textChunk(keyword, text) {
  const start = [...latin1(keyword), 0];
  const isLatin1 = Array.from(text).every((character) => (character.codePointAt(0) ?? 0) < LATIN_1_END);
  if (isLatin1) return chunk('tEXt', Uint8Array.from([...start, ...latin1(text)]));
  // Not compressed, of no language, with no translated keyword.
  return chunk('iTXt', Uint8Array.from([...start, 0, 0, 0, 0, ...new TextEncoder().encode(text)]));
}

/** @param {string} text */
function latin1(text) {
  return Array.from(text, (character) => character.charCodeAt(0));
}

/**
 * @param {string} type
 * @param {Uint8Array} data
 */
function chunk(type, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(latin1(type), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, checksum(bytes.subarray(4, 8 + data.length)));
  return bytes;
}
