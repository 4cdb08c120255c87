/** Undo and redo of whole values, each a new one: what was, what is, what was undone. */

const MOST_STEPS = 200

export const begun = (value) => ({ past: [], value, future: [] })

/** The history with a new value; an equal one is no step. */
export function did({ past, value }, next) {
  if (next === value) return { past, value, future: [] }
  return { past: [...past, value].slice(-MOST_STEPS), value: next, future: [] }
}

/** The history one step back; itself where there is none. */
export function undone(history) {
  const { past, value, future } = history
  if (!past.length) return history
  return { past: past.slice(0, -1), value: past.at(-1), future: [value, ...future] }
}

/** The history one step forward again; itself where there is none. */
export function redone(history) {
  const { past, value, future } = history
  if (!future.length) return history
  return { past: [...past, value], value: future[0], future: future.slice(1) }
}
