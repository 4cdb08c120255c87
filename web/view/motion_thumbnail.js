/** A small picture with its motion, and the button that opens the editor. */

import { button, cleared, make, on } from "./elements.js"
import { paintMotion, paintPicture } from "./motion_paint.js"

export function makeThumbnail(label, open) {
  const canvas = make("canvas", { ariaHidden: "true" })
  const said = make("span", { className: "error", role: "status" })
  const element = make("div", { className: "stillmotion thumbnail" }, canvas, button(label, label, open), said)
  on(canvas, "dblclick", open)
  let shown = null
  const draw = () => shown && paint(canvas, ...shown)
  new ResizeObserver(draw).observe(canvas)
  const show = (frame, motion, wrong) => {
    shown = [frame, motion]
    said.textContent = wrong ?? ""
    draw()
  }
  return { element, show }
}

function paint(canvas, frame, motion) {
  const drawing = cleared(canvas)
  if (!drawing) return
  const { context, width, height } = drawing
  const scale = Math.min(width / frame.size[0], height / frame.size[1])
  const size = frame.size.map((side) => side * scale)
  context.translate((width - size[0]) / 2, (height - size[1]) / 2)
  paintPicture(context, frame, size)
  paintMotion(context, motion, -1, size)
}
