/** A sheet of frames: where a frame lies in it, and which one is due. */

/**
 * The rectangle [x, y, width, height] of a frame in a picture of rows and columns. Cells need not be whole
 * pixels, so it is half a pixel smaller on each side: no neighbour shows.
 */
export function cellOf(index, { columns, rows }, width, height) {
  const cell = [width / columns, height / rows]
  const inset = cell.map((side) => Math.min(0.5, side / 4))
  const left = (index % columns) * cell[0] + inset[0]
  const top = Math.floor(index / columns) * cell[1] + inset[1]
  return [left, top, cell[0] - 2 * inset[0], cell[1] - 2 * inset[1]]
}

/** Order of the frames of one round, as indices: straight on, or back again without the ends twice. */
export function roundOf(frames, pingPong = false) {
  const order = Array.from({ length: frames }, (_, index) => index)
  return pingPong ? [...order, ...order.slice(1, -1).reverse()] : order
}

/** Order of the frames around the seam of a loop: the last few, then the first few. */
export function seamOf(frames) {
  const order = roundOf(frames)
  const few = Math.min(3, Math.floor(frames / 2))
  return few ? [...order.slice(-few), ...order.slice(0, few)] : order
}

/** Factor of a frame's sides at which all frames of clips fit into so many bytes; at most 1. */
export function shrinkOf(clips, bytes) {
  const all = clips.reduce((sum, { width, height, frames }) => sum + 4 * width * height * frames, 0)
  return Math.min(1, Math.sqrt(bytes / Math.max(all, 1)))
}

/** The frame of a moment in seconds, from a round that repeats. */
export function frameAt(seconds, fps, round) {
  return round[Math.floor(seconds * fps + 1e-9) % round.length]
}

/** What a layout says, or null where it is no sheet of frames. */
export function layoutOf({ frames, columns, rows, fps }) {
  const whole = [frames, columns, rows].every((number) => Number.isInteger(number) && number > 0)
  if (!whole || frames > columns * rows || !(fps > 0)) return null
  return { frames, columns, rows, fps: Math.min(fps, 60) }
}
