// Pictures that the browser keeps, in a database of its own.

/** @typedef {import('./pictures.js').Kept} Kept */

const NAME = 'text2latent';
const PICTURES = 'pictures';
const VERSION = 1;

/** @returns {Promise<IDBDatabase>} */
function open() {
  const opening = indexedDB.open(NAME, VERSION);
  opening.addEventListener('upgradeneeded', () => {
    opening.result.createObjectStore(PICTURES, { keyPath: 'id', autoIncrement: true });
  });
  return settled(opening);
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function settled(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener('success', () => resolve(request.result));
    request.addEventListener('error', () => reject(request.error));
  });
}

/** All pictures of one place on the web. Where the visitor lets nothing be kept, its methods fail. */
export class Store {
  constructor() {
    this.database = open();
    this.database.catch(() => {});
  }

  /** @param {IDBTransactionMode} mode */
  async pictures(mode) {
    return (await this.database).transaction(PICTURES, mode).objectStore(PICTURES);
  }

  /**
   * All of them, in the order that they were put.
   * @returns {Promise<Kept[]>}
   */
  async all() {
    return await settled((await this.pictures('readonly')).getAll());
  }

  /**
   * Keep a picture; returns the number that it is kept under.
   * @param {Omit<Kept, 'id'>} picture
   */
  async put(picture) {
    return Number(await settled((await this.pictures('readwrite')).add(picture)));
  }

  /** @param {number} id */
  async remove(id) {
    await settled((await this.pictures('readwrite')).delete(id));
  }

  async clear() {
    await settled((await this.pictures('readwrite')).clear());
  }
}
