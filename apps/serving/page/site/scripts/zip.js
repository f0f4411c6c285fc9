// Zip files (PKWARE's application note 6.3.10) of files that are stored as they are: PNG files are packed already.

import { checksum } from './checksum.js';

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const VERSION = 20;
const UTF8_NAMES = 0x0800;
const FIRST_DAY = 0x21; // 1 January 1980, the first day that there is

/** @typedef {{ name: Uint8Array<ArrayBuffer>, size: number, code: number, offset: number }} Entry */

/**
 * @param {{ name: string, blob: Blob }[]} files Of which one at a time is in memory.
 */
export async function zip(files) {
  /** @type {(Uint8Array<ArrayBuffer> | Blob)[]} */
  const parts = [];
  let offset = 0;
  const add = (/** @type {Uint8Array<ArrayBuffer>} */ part) => {
    parts.push(part);
    offset += part.length;
  };
  /** @type {Entry[]} */
  const entries = [];
  for (const { name, blob } of files) {
    const code = checksum(new Uint8Array(await blob.arrayBuffer()));
    const entry = { name: new TextEncoder().encode(name), size: blob.size, code, offset };
    entries.push(entry);
    add(numbers([4, LOCAL], ...shared(entry)));
    add(entry.name);
    parts.push(blob);
    offset += blob.size;
  }
  const start = offset;
  for (const entry of entries) {
    add(numbers([4, CENTRAL], [2, VERSION], ...shared(entry), [2, 0], [2, 0], [2, 0], [4, 0], [4, entry.offset]));
    add(entry.name);
  }
  const count = entries.length;
  add(numbers([4, END], [2, 0], [2, 0], [2, count], [2, count], [4, offset - start], [4, start], [2, 0]));
  return new Blob(parts, { type: 'application/zip' });
}

/**
 * What is said of a file both before it and in the directory.
 * @param {Entry} entry
 * @returns {[number, number][]}
 */
function shared({ name, size, code }) {
  return [
    [2, VERSION], [2, UTF8_NAMES], [2, 0], [2, 0], [2, FIRST_DAY], [4, code], [4, size], [4, size], [2, name.length], [2, 0],
  ];
}

/**
 * Whole numbers, each with the bytes that it takes, the lowest first.
 * @param {[number, number][]} fields
 */
function numbers(...fields) {
  const bytes = fields.flatMap(([size, value]) => Array.from({ length: size }, (_, i) => (value >>> (8 * i)) & 0xff));
  return Uint8Array.from(bytes);
}
