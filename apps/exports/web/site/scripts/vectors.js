// Arithmetic of embeddings and latents, which are lists of numbers.

/** @typedef {Float32Array | Float64Array | number[]} Numbers */

/**
 * @param {Numbers} a
 * @param {Numbers} b
 */
export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/**
 * `a + scale * b`.
 * @param {Numbers} a
 * @param {Numbers} b
 * @param {number} scale
 */
export function add(a, b, scale = 1) {
  return Float64Array.from(a, (value, i) => value + scale * b[i]);
}

/** @param {Numbers} a */
export function length(a) {
  return Math.sqrt(dot(a, a));
}

/**
 * A vector made of unit length.
 * @param {Numbers} a
 */
export function normalize(a) {
  const scale = 1 / Math.max(length(a), 1e-12);
  return Float64Array.from(a, (value) => value * scale);
}

/**
 * A point of the great circle between unit vectors (Shoemake, SIGGRAPH 1985, section 3.3).
 * @param {Numbers} start
 * @param {Numbers} end
 * @param {number} fraction 0 for start, 1 for end.
 */
export function slerp(start, end, fraction) {
  const angle = Math.acos(Math.min(1, Math.max(-1, dot(start, end))));
  const sine = Math.sin(angle);
  if (sine < 1e-4) return normalize(add(add(start, start, -fraction), end, fraction));
  const [before, after] = [Math.sin((1 - fraction) * angle) / sine, Math.sin(fraction * angle) / sine];
  return Float64Array.from(start, (value, i) => before * value + after * end[i]);
}

/**
 * The mean of vectors that lie one after the other.
 * @param {Numbers} rows
 * @param {number} size Numbers of a vector.
 */
export function meanOfRows(rows, size) {
  const mean = new Float64Array(size);
  for (let i = 0; i < rows.length; i++) mean[i % size] += (rows[i] * size) / rows.length;
  return mean;
}
