// CLIP score against time, as it grows: a line for the optimisation, a dot for the prior.

import { say, sayDuration, sayScore } from './language.js';

/** @typedef {[number, number]} Point Seconds and CLIP score. */

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 180;
const EDGE = { left: 44, right: 12, top: 12, bottom: 30 };
const TICKS = 4;

/** @typedef {{ width: number, seconds: number, low: number, high: number }} Scale Pixels, and where the axes end. */

export class Curve {
  /** @param {HTMLElement} figure */
  constructor(figure) {
    this.figure = figure;
    /** @type {Point | null} */
    this.prior = null;
    /** @type {Point[]} */
    this.points = [];
  }

  /**
   * @param {Point} prior
   */
  begin(prior) {
    this.prior = prior;
    this.points = [];
    this.draw();
  }

  /** @param {Point[]} points */
  add(points) {
    this.points.push(...points);
    this.draw();
  }

  draw() {
    const { prior, points } = this;
    this.figure.hidden = !prior;
    if (!prior) return;
    const all = [prior, ...points];
    const scale = {
      width: this.figure.clientWidth,
      seconds: Math.max(...all.map(([x]) => x), 0.1),
      low: Math.min(0, ...all.map(([, y]) => y)),
      high: Math.max(...all.map(([, y]) => y)) * 1.1,
    };
    const drawing = make('svg', { viewBox: `0 0 ${scale.width} ${HEIGHT}`, role: 'img', 'aria-label': this.words });
    drawing.append(...axes(scale), ...lineOf(points, scale), ...markOf(prior, scale));
    this.figure.replaceChildren(drawing, caption());
  }

  get words() {
    const [prior, last] = [this.prior ?? [0, 0], this.points.at(-1) ?? [0, 0]];
    return say('curve_name', {
      prior: sayScore(prior[1]), prior_time: sayDuration(prior[0]), optimised: sayScore(last[1]), optimised_time: sayDuration(last[0]),
    });
  }
}

/**
 * @param {Point} point
 * @param {Scale} scale
 */
function place([x, y], { width, seconds, low, high }) {
  return [
    EDGE.left + (x / seconds) * (width - EDGE.left - EDGE.right),
    HEIGHT - EDGE.bottom - ((y - low) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom),
  ];
}

/** @param {Scale} scale */
function axes(scale) {
  const { width, seconds, low, high } = scale;
  return Array.from({ length: TICKS + 1 }, (_, i) => i / TICKS).flatMap((share) => {
    const [time, score] = [share * seconds, low + share * (high - low)];
    const [x, base] = place([time, low], scale);
    const [left, y] = place([0, score], scale);
    return [
      make('line', { x1: left, x2: width - EDGE.right, y1: y, y2: y, class: 'grid' }),
      text(sayScore(score), { x: left - 8, y: y + 4, 'text-anchor': 'end' }),
      text(sayDuration(time), { x, y: base + 20, 'text-anchor': share === 1 ? 'end' : 'middle' }),
    ];
  });
}

/**
 * @param {Point[]} points
 * @param {Scale} scale
 */
function lineOf(points, scale) {
  const places = points.map((point) => place(point, scale).join());
  return places.length ? [make('polyline', { points: places.join(' '), class: 'optimised' })] : [];
}

/**
 * @param {Point} prior
 * @param {Scale} scale
 */
function markOf(prior, scale) {
  const [x, y] = place(prior, scale);
  const ends = { x1: EDGE.left, x2: scale.width - EDGE.right, y1: y, y2: y };
  return [make('line', { ...ends, class: 'prior' }), make('circle', { cx: x, cy: y, r: 5, class: 'prior' })];
}

function caption() {
  const line = document.createElement('figcaption');
  const keys = [['prior', say('amortised')], ['optimised', say('optimised')]].map(([kind, name]) => {
    const key = document.createElement('span');
    key.className = `key ${kind}`;
    key.textContent = name;
    return key;
  });
  line.append(`${say('curve')} `, ...keys);
  return line;
}

/**
 * @param {string} said
 * @param {Record<string, string | number>} attributes
 */
function text(said, attributes) {
  const made = make('text', attributes);
  made.textContent = said;
  return made;
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 */
function make(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}
