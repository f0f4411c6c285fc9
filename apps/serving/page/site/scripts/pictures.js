// Pictures in the browser: what the server said of each, its file, and what it was made from.

/** @typedef {import('./server.js').ServedPicture} ServedPicture */
/** @typedef {'drawn' | 'variation' | 'refined' | 'mixed' | 'edited' | 'prior' | 'optimised' | 'upload' | 'found'} Kind */

/**
 * A picture as it is kept.
 * @typedef {Omit<ServedPicture, 'png'> & { blob: Blob, kind: Kind, prompt: string, id: number }} Kept
 */

/** @typedef {Kept & { url: string }} Picture */

/** Of pictures that aren't kept yet. */
export const NO_ID = 0;

const START_FIELDS = /** @type {const} */ ([
  'model', 'label', 'text', 'negative', 'seed', 'guidance_scale', 'steps', 'truncation', 'rerank', 'latents', 'is_of_text',
]);

/**
 * @param {ServedPicture} served
 * @param {Kind} kind
 * @param {string} prompt The text that it came from, perhaps by other pictures.
 * @returns {Picture}
 */
export function receive({ png, ...served }, kind, prompt) {
  const blob = pngBlob(png);
  return { ...served, blob, kind, prompt, id: NO_ID, url: URL.createObjectURL(blob) };
}

/** @param {string} base64 */
export function pngBlob(base64) {
  return new Blob([bytesOf(base64)], { type: 'image/png' });
}

/** @param {string} base64 */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/**
 * What the server needs to make others of a picture.
 * @param {Picture} picture
 */
export async function startOf(picture) {
  const fields = Object.fromEntries(START_FIELDS.map((name) => [name, picture[name]]));
  return picture.text === null ? { ...fields, png: await base64Of(picture.blob) } : fields;
}

/** @param {Blob} blob */
async function base64Of(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
}

/**
 * @param {Blob} blob
 * @param {string} name
 */
export function saveFile(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export const isNarrow = () => matchMedia('(max-width: 719px)').matches;

/**
 * Bring what was just drawn into sight, on a phone.
 * @param {Element} element
 */
export function reveal(element) {
  if (isNarrow()) element.scrollIntoView({ block: 'nearest' });
}
