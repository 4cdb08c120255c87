/** Two pictures on a canvas, in the ways in which clips are compared. */

/** Ways to look at two clips; the first is what a player begins with. */
export const VIEWS = ["wipe", "side by side", "blink", "difference ×4", "A", "B"]

/** Draws pictures in a view; wipe: where A ends, from 0 to 1. blinks: 0 for A, 1 for B. */
export function drawPair(canvas, pictures, view, { wipe, blinks }) {
  const [a, b = a] = pictures
  const { width, height } = a
  const beside = view === "side by side"
  canvas.width = beside ? 2 * width : width
  canvas.height = height
  const context = canvas.getContext("2d")
  const whole = [0, 0, width, height]
  if (view === "B" || (view === "blink" && blinks)) return context.drawImage(b, ...whole)
  context.drawImage(a, ...whole)
  if (beside) context.drawImage(b, width, 0, width, height)
  if (view === "wipe") drawWiped(context, b, wipe, whole)
  if (view === "difference ×4") drawDifference(context, b, whole)
}

function drawWiped(context, b, wipe, [, , width, height]) {
  const edge = Math.round(width * wipe)
  context.save()
  context.beginPath()
  context.rect(edge, 0, width - edge, height)
  context.clip()
  context.drawImage(b, 0, 0, width, height)
  context.restore()
  // Seen on every picture: light within dark.
  for (const [colour, line] of [["black", 3], ["white", 1]]) {
    context.fillStyle = colour
    context.fillRect(edge - line / 2, 0, line, height)
  }
}

/** |A − B|, doubled twice by adding the picture to itself. */
function drawDifference(context, b, whole) {
  context.globalCompositeOperation = "difference"
  context.drawImage(b, ...whole)
  context.globalCompositeOperation = "lighter"
  for (let twice = 0; twice < 2; twice++) context.drawImage(context.canvas, 0, 0)
  context.globalCompositeOperation = "source-over"
}
