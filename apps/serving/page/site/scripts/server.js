// What the page asks the server: answers come line by line, until the result or what is wrong.

/**
 * A picture as the server gives it; see `picture_data` there.
 * @typedef {object} ServedPicture
 * @property {string} model
 * @property {string} label What files call it.
 * @property {string} stem Of its files' names.
 * @property {string | null} text What CLIP compares it with.
 * @property {string | null} negative
 * @property {number} seed
 * @property {number} guidance_scale
 * @property {number} steps
 * @property {number} truncation
 * @property {number} rerank
 * @property {string} latents In base64.
 * @property {boolean} is_of_text
 * @property {number | null} clip_score
 * @property {number} seconds
 * @property {string} command
 * @property {string} python
 * @property {string} needs
 * @property {[number, number] | null} outside Out-of-domain score and threshold, where it is beyond that.
 * @property {string} png In base64.
 */

/**
 * @typedef {object} Drawn
 * @property {ServedPicture[]} pictures
 * @property {number} seconds From the request to the result.
 */

/** @typedef {Drawn & { gif: string }} Mixed */

/**
 * @typedef {object} Compared
 * @property {ServedPicture} amortised
 * @property {ServedPicture} optimised
 * @property {[number, number][]} points Seconds and CLIP score.
 */

/**
 * A line before the last one.
 * @typedef {object} Line
 * @property {number} [share] How far the work is, in [0, 1].
 * @property {string} [what] What is being done.
 * @property {ServedPicture} [amortised]
 * @property {[number, number][]} [points]
 * @property {string} [png]
 */

/**
 * @typedef {object} World
 * @property {string[]} examples
 * @property {{ name: Said, words: Said[] }[]} [chips]
 * @property {{ name: Said, from: Said, to: Said }[]} [sliders]
 */

/** @typedef {{ en: string, ja: string }} Said A text in both languages. */

/**
 * @typedef {object} ServerSettings
 * @property {string} version
 * @property {string[]} models
 * @property {Record<string, number>} limits
 */

/** Something is wrong with what was asked, or with the server. */
export class Refusal extends Error {}

/** The server can't be reached. */
export class Unreachable extends Error {}

/** @returns {Promise<ServerSettings>} */
export const askSettings = async () => await (await fetched('page/settings.json')).json();

/**
 * @param {string} model
 * @returns {Promise<World>}
 */
export const askWorld = async (model) => await (await fetched(`page/worlds/${encodeURIComponent(model)}`)).json();

/**
 * Ask for something that is drawn.
 * @template T
 * @param {string} name
 * @param {object | FormData} asked
 * @param {AbortSignal} signal Ends the work on the server, too.
 * @param {(line: Line) => void} [onLine]
 * @returns {Promise<T>}
 */
export async function ask(name, asked, signal, onLine = () => {}) {
  const answer = await fetched(`page/${name}`, { method: 'POST', signal, ...bodyOf(asked) });
  for await (const line of linesOf(answer)) {
    if (line.error !== undefined) throw new Refusal(line.error);
    if (line.result !== undefined) return line.result;
    onLine(line);
  }
  throw new Unreachable('the answer ended early');
}

/**
 * A file of a picture's latents.
 * @param {object} start
 */
export const askLatents = async (start) =>
  await (await fetched('page/latents', { method: 'POST', ...bodyOf(start) })).blob();

/** @param {object | FormData} asked */
function bodyOf(asked) {
  if (asked instanceof FormData) return { body: asked };
  return { body: JSON.stringify(asked), headers: { 'Content-Type': 'application/json' } };
}

/**
 * @param {string} address
 * @param {RequestInit} [how]
 */
async function fetched(address, how) {
  /** @type {Response} */
  let answer;
  try {
    answer = await fetch(address, how);
  } catch (error) {
    if (how?.signal?.aborted) throw error;
    throw new Unreachable(String(error));
  }
  if (!answer.ok) throw new Refusal(await messageOf(answer));
  return answer;
}

/** @param {Response} answer */
async function messageOf(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}

/** @param {Response} answer */
async function* linesOf(answer) {
  if (!answer.body) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield JSON.parse(line);
  }
}
