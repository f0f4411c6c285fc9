// PyTorch's normal random numbers, so that a seed draws the same picture here as there.

const BLOCK = 16;
const WORDS = 624;
const SHIFT = 397;
const { cos, fround, log, log1p, PI, sin, sqrt } = Math;

/** The Mersenne twister MT19937 (Matsumoto and Nishimura, 1998), which starts from a whole number. */
class Twister {
  /** @param {number} seed In [0, 2^32). */
  constructor(seed) {
    this.state = new Uint32Array(WORDS);
    this.state[0] = seed;
    for (let i = 1; i < WORDS; i++) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, before) + i;
    }
    this.position = WORDS;
  }

  /** The next 32 bits, as a whole number. */
  next() {
    if (this.position === WORDS) this.twist();
    let word = this.state[this.position++];
    word ^= word >>> 11;
    word ^= (word << 7) & 0x9d2c5680;
    word ^= (word << 15) & 0xefc60000;
    return (word ^ (word >>> 18)) >>> 0;
  }

  twist() {
    const { state } = this;
    for (let i = 0; i < WORDS; i++) {
      const word = (state[i] & 0x80000000) | (state[(i + 1) % WORDS] & 0x7fffffff);
      state[i] = state[(i + SHIFT) % WORDS] ^ (word >>> 1) ^ (word & 1 ? 0x9908b0df : 0);
    }
    this.position = 0;
  }
}

/**
 * What `torch.randn(size, generator=torch.Generator().manual_seed(seed))` gives on a CPU, to about 1e-6.
 *
 * Torch makes normal numbers of the twister's words by Box and Muller (1958): in double precision where there are few,
 * else in blocks of 16, of which 8 are for the radius and 8 for the angle.
 * @param {number} seed A whole number in [0, 2^53).
 * @param {number} size
 */
export function randn(seed, size) {
  const twister = new Twister(seed % 2 ** 32);
  return size < BLOCK ? inDouble(twister, size) : inBlocks(twister, size);
}

/**
 * @param {Twister} twister
 * @param {number} size
 */
function inDouble(twister, size) {
  const normal = new Float32Array(size + 1);
  const next = () => ((twister.next() & 0x1fffff) * 2 ** 32 + twister.next()) * 2 ** -53;
  for (let i = 0; i < size; i += 2) {
    const angle = 2 * PI * next();
    const radius = sqrt(-2 * log1p(-next()));
    normal[i] = radius * cos(angle);
    normal[i + 1] = radius * sin(angle);
  }
  return normal.slice(0, size);
}

/**
 * @param {Twister} twister
 * @param {number} size
 */
function inBlocks(twister, size) {
  const normal = Float32Array.from({ length: size }, () => uniform(twister));
  for (let start = 0; start + BLOCK <= size; start += BLOCK) makeNormal(normal.subarray(start, start + BLOCK));
  if (size % BLOCK) {
    // The last numbers are drawn anew where the blocks don't come out even.
    const last = normal.subarray(size - BLOCK);
    last.forEach((_, i) => (last[i] = uniform(twister)));
    makeNormal(last);
  }
  return normal;
}

/** @param {Twister} twister */
function uniform(twister) {
  return (twister.next() & 0xffffff) * 2 ** -24;
}

/**
 * Turn a block of uniform numbers into normal ones, in single precision as torch does.
 * @param {Float32Array} block
 */
function makeNormal(block) {
  for (let i = 0; i < BLOCK / 2; i++) {
    const radius = fround(sqrt(fround(-2 * fround(log(fround(1 - block[i]))))));
    const angle = fround(fround(2 * PI) * block[i + BLOCK / 2]);
    block[i] = radius * fround(cos(angle));
    block[i + BLOCK / 2] = radius * fround(sin(angle));
  }
}
