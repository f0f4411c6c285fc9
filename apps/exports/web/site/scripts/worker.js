// Draws beside the page, which stays free for whoever uses it. Only the newest wish counts.

import { chooseDevice, networkParts, Networks } from './networks.js';
import { Painter } from './painter.js';
import { loadParts } from './parts.js';
import { PromptError } from './prompt.js';

/** @typedef {import('./model.js').Model} Model */
/** @typedef {import('./model.js').Device} Device */
/** @typedef {import('./painter.js').Wish} Wish */
/** @typedef {import('./painter.js').Picture} Picture */
/** @typedef {import('./prompt.js').Problem} Problem */
/** @typedef {{id: number, wish: Wish, seeds: number[]}} Order */
/** @typedef {{kind: 'load', model: Model, device: string | null} | ({kind: 'draw'} & Order)} Message */
/**
 * @typedef {{kind: 'progress', loaded: number, total: number}
 *   | {kind: 'ready', device: Device}
 *   | {kind: 'broken', message: string}
 *   | {kind: 'picture', id: number, index: number, picture: Picture, milliseconds: number}
 *   | {kind: 'refused', id: number, problem: Problem}} Answer
 */

const ROOT = new URL('../', import.meta.url);
const TOKENIZER = 'tokenizer.json';
/** @type {Painter | undefined} */
let painter;
/** @type {Order | undefined} */
let newest;
let isDrawing = false;

self.addEventListener('message', (event) => {
  const message = /** @type {Message} */ (event.data);
  if (message.kind === 'load') void load(message.model, message.device);
  else take(message);
});

/**
 * @param {Answer} message
 * @param {Transferable[]} transfer
 */
function answer(message, transfer = []) {
  self.postMessage(message, { transfer });
}

/**
 * @param {Model} model
 * @param {string | null} wanted
 */
async function load(model, wanted) {
  try {
    const device = await chooseDevice(wanted);
    try {
      painter = await prepare(model, device);
      answer({ kind: 'ready', device });
    } catch (error) {
      if (device === 'wasm' || wanted === device) throw error;
      // Some graphics processors lack what the generator needs.
      painter = await prepare(model, 'wasm');
      answer({ kind: 'ready', device: 'wasm' });
    }
  } catch (error) {
    answer({ kind: 'broken', message: String(error) });
  }
}

/**
 * @param {Model} model
 * @param {Device} device
 */
async function prepare(model, device) {
  const wanted = [...networkParts(device, model), TOKENIZER];
  const onProgress = (/** @type {number} */ loaded, /** @type {number} */ total) => answer({ kind: 'progress', loaded, total });
  const parts = await loadParts(model.parts, wanted, ROOT, onProgress);
  const file = JSON.parse(new TextDecoder().decode(parts.get(TOKENIZER)));
  return new Painter(model, await Networks.create(model, parts, device, ROOT), file);
}

/** @param {Order} order */
function take(order) {
  newest = order;
  if (!isDrawing) void drawNewest();
}

async function drawNewest() {
  isDrawing = true;
  for (let order = newest; order; order = newest === order ? undefined : newest) {
    try {
      await drawAll(order);
    } catch (error) {
      if (error instanceof PromptError) answer({ kind: 'refused', id: order.id, problem: error.problem });
      else answer({ kind: 'broken', message: String(error) });
    }
  }
  isDrawing = false;
}

/**
 * Draw what was ordered, until something else is.
 * @param {Order} order
 */
async function drawAll(order) {
  for (const [index, seed] of order.seeds.entries()) {
    await nextTurn();
    if (newest !== order || !painter) return;
    const started = performance.now();
    const picture = await painter.draw(order.wish, seed);
    const milliseconds = performance.now() - started;
    answer({ kind: 'picture', id: order.id, index, picture, milliseconds }, [picture.levels.buffer]);
  }
}

/** Let messages in, which wait while a network runs. */
function nextTurn() {
  return new Promise((resolve) => setTimeout(resolve));
}
