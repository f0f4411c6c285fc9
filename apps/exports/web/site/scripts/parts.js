// The large files of the page: fetched once, kept by the browser, and unpacked.

/** @typedef {import('./model.js').Part} Part */

const GZIP = [0x1f, 0x8b];

/**
 * Names of parts to their contents. What was fetched before is taken from the browser's cache; what no longer belongs to
 * the model is removed from there.
 * @param {Record<string, Part>} listed All parts of the model.
 * @param {string[]} wanted Names of those to get.
 * @param {URL} root Address of the folder.
 * @param {(loaded: number, total: number) => void} onProgress Gets bytes.
 * @returns {Promise<Map<string, ArrayBuffer>>}
 */
export async function loadParts(listed, wanted, root, onProgress) {
  const total = wanted.reduce((sum, name) => sum + listed[name].bytes, 0);
  let loaded = 0;
  const onBytes = (/** @type {number} */ bytes) => onProgress(Math.min((loaded += bytes), total), total);
  const cache = await openCache(root);
  const contents = wanted.map(async (name) => {
    const packed = await load(new URL(listed[name].file, root), cache, onBytes);
    return /** @type {[string, ArrayBuffer]} */ ([name, await unpack(packed)]);
  });
  const found = new Map(await Promise.all(contents));
  const kept = new Set(Object.values(listed).map((part) => new URL(part.file, root).href));
  for (const request of (await cache?.keys()) ?? []) if (!kept.has(request.url)) await cache?.delete(request);
  return found;
}

/**
 * The browser's store for a folder's parts; none where it doesn't lend one, as over plain http.
 * @param {URL} root
 * @returns {Promise<Cache | undefined>}
 */
async function openCache(root) {
  try {
    return await caches.open(`parts of ${root.pathname}`);
  } catch {
    return undefined;
  }
}

/**
 * @param {URL} address
 * @param {Cache | undefined} cache
 * @param {(bytes: number) => void} onBytes
 */
async function load(address, cache, onBytes) {
  const kept = await cache?.match(address);
  if (kept) {
    const blob = await kept.blob();
    onBytes(blob.size);
    return blob;
  }
  const blob = await download(address, onBytes);
  // A full disk is no reason not to draw.
  await cache?.put(address, new Response(blob)).catch(() => undefined);
  return blob;
}

/**
 * @param {URL} address
 * @param {(bytes: number) => void} onBytes
 */
async function download(address, onBytes) {
  const response = await fetch(address);
  if (!response.ok || !response.body) throw new Error(`${address.pathname}: ${response.status}`);
  const reader = response.body.getReader();
  const chunks = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Blob(chunks);
    chunks.push(value);
    onBytes(value.length);
  }
}

/**
 * The content of a gzipped file; some servers have unpacked it already.
 * @param {Blob} blob
 */
async function unpack(blob) {
  const start = new Uint8Array(await blob.slice(0, GZIP.length).arrayBuffer());
  if (!GZIP.every((byte, i) => start[i] === byte)) return blob.arrayBuffer();
  return new Response(blob.stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer();
}
