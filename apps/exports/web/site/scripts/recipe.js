// What a picture was made of, as `infer` writes it into its files.

/** @typedef {import('./model.js').Model} Model */
/** @typedef {import('./painter.js').Wish} Wish */

export const MIX_STEPS = 20;
const SLUG_BYTES = 96;

/**
 * What files and captions call a picture.
 * @param {Wish} wish
 */
export function labelOf({ text, mix, edit }) {
  const start = mix ? `${text} -> ${mix.text}, ${Number(mix.fraction.toPrecision(3))}` : text;
  return edit ? `${start}, edited from '${edit.from}' to '${edit.to}'` : start;
}

/**
 * Texts of a PNG file by keyword.
 * @param {Model} model
 * @param {Wish} wish
 * @param {number} seed
 * @returns {Record<string, string>}
 */
export function pngTexts({ recipe }, wish, seed) {
  const prompt = labelOf(wish);
  const everything = {
    ...recipe,
    settings: {
      ...recipe.settings,
      guidance_scale: wish.guidanceScale,
      ...(wish.mix && { interpolate: [wish.text, wish.mix.text], frames: MIX_STEPS + 1 }),
      ...(wish.edit && { edit: [wish.edit.from, wish.edit.to], strength: wish.edit.strength }),
    },
    images: [{ prompt, seed, clip_score: null }],
  };
  return {
    prompt,
    seed: String(seed),
    Software: `text2latent ${recipe.text2latent}`,
    text2latent: JSON.stringify(everything),
  };
}

/**
 * A file's name, as `infer` makes it of a text: letters and digits of any script, and hyphens between them.
 * @param {Wish} wish
 * @param {number} seed
 */
export function fileName(wish, seed) {
  const words = labelOf(wish).normalize('NFKC').toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  const bytes = new TextEncoder().encode(words.join('-')).subarray(0, SLUG_BYTES);
  // A character that was cut in two becomes one or more replacement characters.
  const slug = new TextDecoder().decode(bytes).replace(/\ufffd+$/, '').replace(/-+$/, '');
  return `${slug || 'image'}-${seed}.png`;
}
