// The model's three networks, run by onnxruntime-web.

/** @typedef {import('./model.js').Model} Model */
/** @typedef {import('./model.js').Device} Device */
/** @typedef {typeof import('onnxruntime-web')} Runtime */
/** @typedef {import('onnxruntime-web').InferenceSession} Session */
/** @typedef {import('onnxruntime-web').Tensor} Tensor */

const MAX_THREADS = 4;
const ERRORS = 3;

/**
 * Where pictures are computed: on the graphics processor if there is one, unless the page's address says otherwise.
 * @param {string | null} wanted
 * @returns {Promise<Device>}
 */
export async function chooseDevice(wanted) {
  if (wanted === 'wasm' || wanted === 'webgpu') return wanted;
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    return adapter && !adapter.info.isFallbackAdapter ? 'webgpu' : 'wasm';
  } catch {
    return 'wasm';
  }
}

/**
 * Names of the parts that `Networks.create` needs.
 * @param {Device} device
 * @param {Model} model
 */
export function networkParts(device, model) {
  return ['text_encoder.onnx', 'sampler.onnx', 'generator.onnx', model.devices[device][2]];
}

export class Networks {
  /**
   * @param {Runtime} runtime
   * @param {Session} textEncoder
   * @param {Session} sampler
   * @param {Session} generator
   */
  constructor(runtime, textEncoder, sampler, generator) {
    this.runtime = runtime;
    this.textEncoder = textEncoder;
    this.sampler = sampler;
    this.generator = generator;
  }

  /**
   * @param {Model} model
   * @param {Map<string, ArrayBuffer>} parts Those of `networkParts`.
   * @param {Device} device
   * @param {URL} root Address of the folder.
   */
  static async create(model, parts, device, root) {
    const [module, loader, binary] = model.devices[device];
    const runtime = /** @type {Runtime} */ (await import(new URL(`runtime/${module}`, root).href));
    runtime.env.wasm.wasmBinary = parts.get(binary);
    runtime.env.wasm.wasmPaths = { mjs: new URL(`runtime/${loader}`, root).href };
    // Pages without the headers that isolate them get one thread.
    runtime.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MAX_THREADS, navigator.hardwareConcurrency) : 1;
    const start = (/** @type {string} */ name, /** @type {Device} */ where) =>
      runtime.InferenceSession.create(/** @type {ArrayBuffer} */ (parts.get(`${name}.onnx`)), {
        executionProviders: [where],
        logSeverityLevel: ERRORS,
        // Weights in eight bits are unpacked once instead of at each run.
        extra: { session: { disable_quant_qdq: '1' } },
      });
    // The runtime starts one session after the other. The first two are small, and quickest on the processor.
    const textEncoder = await start('text_encoder', 'wasm');
    const sampler = await start('sampler', 'wasm');
    return new Networks(runtime, textEncoder, sampler, await start('generator', device));
  }

  /**
   * The embedding of a text, of unit length.
   * @param {BigInt64Array} tokens
   */
  async embed(tokens) {
    const { Tensor } = this.runtime;
    const { text_embedding: found } = await this.textEncoder.run({ tokens: new Tensor('int64', tokens, [1, tokens.length]) });
    return /** @type {Float32Array} */ (found.data);
  }

  /**
   * Latents, a row each for rows of noise.
   * @param {Float32Array} condition Of all rows.
   * @param {Float32Array} noise
   * @param {[number, number]} shape Of a row of noise.
   * @param {number} guidanceScale
   */
  async sample(condition, noise, shape, guidanceScale) {
    const { Tensor } = this.runtime;
    const rows = noise.length / (shape[0] * shape[1]);
    const conditions = new Float32Array(rows * condition.length);
    for (let row = 0; row < rows; row++) conditions.set(condition, row * condition.length);
    const { latents } = await this.sampler.run({
      condition: new Tensor('float32', conditions, [rows, condition.length]),
      noise: new Tensor('float32', noise, [rows, ...shape]),
      guidance_scale: new Tensor('float32', new Float32Array(rows).fill(guidanceScale), [rows]),
    });
    return latents;
  }

  /**
   * The levels of one picture, channel by channel.
   * @param {Float32Array} latent
   * @param {readonly number[]} shape Of the latent, with a batch of one.
   */
  async synthesize(latent, shape) {
    const { images } = await this.generator.run({ latents: new this.runtime.Tensor('float32', latent, shape) });
    const values = /** @type {Float32Array} */ (await images.getData());
    // Clamped arrays round to the nearest level, and halves to the even one, as torch does.
    return Uint8ClampedArray.from(values, (value) => Math.fround(Math.fround(value + 1) * 127.5));
  }
}
