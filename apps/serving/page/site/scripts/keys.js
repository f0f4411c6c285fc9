// Keys that go through things that stand in a row or a grid.

/**
 * Where a key leads to, or null where it leads nowhere. Rows of a grid have `columns` things.
 * @param {KeyboardEvent} event
 * @param {number} index
 * @param {number} count
 * @param {number} [columns]
 * @returns {number | null}
 */
export function moveBy(event, index, count, columns = 1) {
  if (event.altKey || event.ctrlKey || event.metaKey) return null;
  const steps = new Map([
    ['ArrowRight', 1], ['ArrowLeft', -1], ['ArrowDown', columns], ['ArrowUp', -columns], ['Home', -index],
    ['End', count - 1 - index],
  ]);
  const step = steps.get(event.key);
  if (step === undefined || !count) return null;
  event.preventDefault();
  const next = index + step;
  if (columns > 1 && Math.abs(step) === columns) return next >= 0 && next < count ? next : index;
  return (next + count) % count;
}
