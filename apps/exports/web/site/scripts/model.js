// What `model.json` says of the model.

/**
 * @typedef {object} Model
 * @property {string} title
 * @property {Recipe} recipe What pictures are drawn with, as `infer` writes it into them.
 * @property {number} guidance_scale Where the slider starts.
 * @property {number} context_length Tokens of a text.
 * @property {[number, number]} noise_shape
 * @property {[number, number, number]} image_shape Channels, height and width.
 * @property {number[]} text_centre What embeddings of texts are seen from.
 * @property {string[]} examples
 * @property {Record<Device, [string, string, string]>} devices Module, loader and binary of onnxruntime-web.
 * @property {Record<string, Part>} parts
 * @property {string[]} files
 */
/** @typedef {{text2latent: string, settings: Record<string, unknown>} & Record<string, unknown>} Recipe */
/** @typedef {'wasm' | 'webgpu'} Device */
/** @typedef {{file: string, bytes: number}} Part A gzipped file, and its size. */

/** @returns {Promise<Model>} */
export async function loadModel() {
  const response = await fetch('model.json');
  if (!response.ok) throw new Error(`model.json: ${response.status}`);
  return response.json();
}
