// What tells whether bytes are whole.

/**
 * The cyclic redundancy code that PNG (its specification's annex D) and zip files have.
 * @param {Uint8Array} bytes
 */
export function checksum(bytes) {
  let code = 0xffffffff;
  for (const byte of bytes) {
    code ^= byte;
    for (let bit = 0; bit < 8; bit++) code = (code >>> 1) ^ (code & 1 ? 0xedb88320 : 0);
  }
  return ~code >>> 0;
}
