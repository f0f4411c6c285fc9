// What is wrong, in the page's language. The server says it in English, in a few forms.

import { say } from './language.js';
import { Refusal, Unreachable } from './server.js';
import { currentLanguage } from './translation.js';

/** Something is wrong that the page itself notices. */
export class Complaint extends Error {
  /** @param {import('./language.js').TextName} name */
  constructor(name) {
    super(name);
    this.text = name;
  }
}

const FIELDS = new Map([
  ['prompt', '文章'], ['negative_prompt', 'ネガティブプロンプト'], ['start', 'はじめの文章'], ['end', 'おわりの文章'],
  ['source', '変える前の文章'], ['target', '変えた後の文章'], ['text', '文章'], ['seed', 'シード'], ['n', '枚数'],
  ['steps', 'ステップ数'], ['guidance_scale', 'ガイダンス'], ['truncation', 'トランケーション'], ['rerank', '候補数'],
  ['frames', 'コマ数'], ['iterations', '回数'], ['strength', '強さ'], ['image', '画像'], ['png', '画像'],
  ['latents', '潜在変数'], ['model', 'モデル'], ['changes', 'スライダー'],
]);

/** @type {[RegExp, string][]} What the server says, and the same in Japanese. */
const JAPANESE = [
  [/at most (\d+) characters, got (\d+)/, '{field}は {1} 文字以内で書いてください（いまは {2} 文字）。'],
  [/expected some words/, '{field}に言葉を書いてください。'],
  [/a text in each part between/, '{field}：| と | の間に文章を書いてください。'],
  [/weights between -100 and 100/, '{field}：重みは -100 から 100 までです。'],
  [/weights whose sum is positive/, '{field}：重みの合計は 0 より大きくしてください。'],
  [/cancel/, '{field}：打ち消し合う文章になっています。'],
  [/other than 1 with a negative prompt/, 'ネガティブプロンプトがあるとき、ガイダンスは 1 以外にしてください。'],
  [/at most ([\d.]+) MiB/, '{field}は {1} MiB 以下にしてください。'],
  [/at most ([\d.]+) megapixels/, '{field}は {1} メガピクセル以下にしてください。'],
  [/expected a whole PNG/, '{field}は壊れていない PNG、JPEG、WebP、GIF、BMP にしてください。'],
  [/sides of a ratio/, '{field}が細長すぎます。'],
  [/at most (\d+),? got/, '{field}は {1} 以下にしてください。'],
  [/can't be loaded/, 'このモデルはいま読み込めません。'],
  [/(too many|wait already|waiting)/i, '混み合っています。少し待ってからもう一度お試しください。'],
  [/server failed/, 'サーバーで問題が起きました。'],
  [/finite/, '数値が大きくなりすぎて描けませんでした。'],
  [/stopped|shutting down/, '止まりました。'],
  [/token/, 'トークンが必要です。ページを読み込み直してください。'],
];

/**
 * @param {unknown} error
 * @returns {string}
 */
export function sayProblem(error) {
  if (error instanceof Complaint) return say(error.text);
  if (error instanceof Unreachable) return say('problem_network');
  if (error instanceof Refusal) return currentLanguage() === 'ja' ? inJapanese(error.message) : capital(error.message);
  return say('problem_other', { message: String(error) });
}

/** @param {string} message */
function inJapanese(message) {
  const name = /^[a-z_]+/.exec(message)?.[0] ?? '';
  for (const [form, said] of JAPANESE) {
    const found = form.exec(message);
    if (!found) continue;
    return said.replace('{field}', FIELDS.get(name) ?? '文章').replace(/\{(\d)\}/g, (_, i) => found[Number(i)]);
  }
  return say('problem_other', { message });
}

/** @param {string} message */
const capital = (message) => message.charAt(0).toUpperCase() + message.slice(1);
