// Parts of the page by their ids.

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function element(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`#${id}: expected ${kind.name}`);
  return found;
}

/** @param {string} id */
export const input = (id) => element(id, HTMLInputElement);
/** @param {string} id */
export const textArea = (id) => element(id, HTMLTextAreaElement);
/** @param {string} id */
export const button = (id) => element(id, HTMLButtonElement);
/** @param {string} id */
export const details = (id) => element(id, HTMLDetailsElement);
/** @param {string} id */
export const part = (id) => element(id, HTMLElement);
