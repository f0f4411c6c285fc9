// From a wish to a picture: text, condition, noise, latent, image; as `infer` goes.

import { randn } from './noise.js';
import { parsePrompt, PromptError } from './prompt.js';
import { Tokenizer } from './tokenizer.js';
import { add, length, meanOfRows, normalize, slerp } from './vectors.js';

/** @typedef {import('./model.js').Model} Model */
/** @typedef {import('./networks.js').Networks} Networks */
/** @typedef {import('./tokenizer.js').TokenizerFile} TokenizerFile */
/**
 * @typedef {object} Wish What a picture is to show.
 * @property {string} text
 * @property {{text: string, fraction: number} | null} mix Another text, and how far to go there, 0 to 1.
 * @property {{from: string, to: string, strength: number} | null} edit What to change into what, and by how much.
 * @property {number} guidanceScale
 */
/**
 * @typedef {object} Picture
 * @property {number} width
 * @property {number} height
 * @property {number} channels
 * @property {Uint8ClampedArray} levels Channel by channel, row by row.
 */

const NEUTRAL_TEXT = 'picture';
const DIRECTION_DRAWS = 64;
const MAX_KEPT = 64;

export class Painter {
  /**
   * @param {Model} model
   * @param {Networks} networks
   * @param {TokenizerFile} file
   */
  constructor(model, networks, file) {
    this.model = model;
    this.networks = networks;
    this.wide = file.wide;
    this.tokenizer = new Tokenizer(file, model.context_length);
    /** @type {Kept<Promise<Float32Array>>} */
    this.embeddings = new Kept();
    /** @type {Kept<Promise<Float64Array>>} */
    this.directions = new Kept();
  }

  /**
   * @param {Wish} wish
   * @param {number} seed
   * @returns {Promise<Picture>}
   * @throws {PromptError}
   */
  async draw(wish, seed) {
    const { noise_shape: shape, image_shape: [channels, height, width] } = this.model;
    const condition = await this.conditionOf(wish);
    const noise = randn(seed, shape[0] * shape[1]);
    const drawn = await this.networks.sample(condition, noise, shape, wish.guidanceScale);
    let latent = /** @type {Float32Array} */ (drawn.data);
    if (wish.edit) {
      const direction = await this.directionOf(wish.edit.from, wish.edit.to, wish.guidanceScale);
      latent = Float32Array.from(add(latent, direction, wish.edit.strength));
    }
    return { width, height, channels, levels: await this.networks.synthesize(latent, drawn.dims) };
  }

  /** @param {Wish} wish */
  async conditionOf(wish) {
    const start = await this.promptCondition(wish.text);
    if (!wish.mix) return Float32Array.from(start);
    return Float32Array.from(slerp(start, await this.promptCondition(wish.mix.text), wish.mix.fraction));
  }

  /**
   * What the prior takes of a prompt: its embedding, seen from the centre of all texts.
   * @param {string} prompt
   */
  async promptCondition(prompt) {
    return normalize(add(await this.embedPrompt(prompt), this.model.text_centre, -1));
  }

  /**
   * The embedding of a prompt: that of its text, or what each of its parts adds by its weight to a text that says nothing.
   * @param {string} prompt
   */
  async embedPrompt(prompt) {
    const parts = parsePrompt(prompt, this.wide);
    if (parts.length === 1) return this.embed(parts[0].text);
    const neutral = await this.embed(NEUTRAL_TEXT);
    let said = new Float64Array(neutral.length);
    for (const { text, weight } of parts) said = add(said, add(await this.embed(text), neutral, -1), weight);
    if (!(length(said) > 1e-4)) throw new PromptError('cancel');
    return normalize(add(neutral, said));
  }

  /** @param {string} text */
  embed(text) {
    return this.embeddings.get(text, () => this.networks.embed(this.tokenizer.encode(text)).then((row) => row.slice()));
  }

  /**
   * The difference that two prompts make to a latent: that of the means of what is drawn of them, from the same noise.
   * @param {string} from
   * @param {string} to
   * @param {number} guidanceScale
   */
  directionOf(from, to, guidanceScale) {
    return this.directions.get(JSON.stringify([from, to, guidanceScale]), async () => {
      const before = await this.meanLatent(from, guidanceScale);
      return add(await this.meanLatent(to, guidanceScale), before, -1);
    });
  }

  /**
   * @param {string} prompt
   * @param {number} guidanceScale
   */
  async meanLatent(prompt, guidanceScale) {
    const condition = Float32Array.from(await this.promptCondition(prompt));
    const { noise_shape: shape } = this.model;
    const size = shape[0] * shape[1];
    const noise = new Float32Array(DIRECTION_DRAWS * size);
    for (let seed = 0; seed < DIRECTION_DRAWS; seed++) noise.set(randn(seed, size), seed * size);
    const latents = await this.networks.sample(condition, noise, shape, guidanceScale);
    const values = /** @type {Float32Array} */ (latents.data);
    return meanOfRows(values, values.length / DIRECTION_DRAWS);
  }
}

/**
 * The results that were asked for last, by key.
 * @template T
 */
class Kept {
  constructor() {
    /** @type {Map<string, T>} */
    this.results = new Map();
  }

  /**
   * @param {string} key
   * @param {() => T} make
   */
  get(key, make) {
    const result = this.results.get(key) ?? make();
    this.results.delete(key);
    this.results.set(key, result);
    if (this.results.size > MAX_KEPT) this.results.delete(/** @type {string} */ (this.results.keys().next().value));
    return result;
  }
}
