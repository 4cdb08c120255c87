/** A canvas that loops a sheet of frames, with a button that stops it. */

import { cellOf, frameAt, roundOf } from "../pure/sheet.js"
import { make } from "./elements.js"
import { whileSeen } from "./while_seen.js"

/** Makes a player: its element, `show` for the next sheet and `close`. */
export function makeSheetPlayer(words) {
  const canvas = make("canvas", { role: "img" })
  const button = make("button", { type: "button" })
  const element = make("div", { className: "stillmotion sheet" }, canvas, button)

  let sheet = null
  let layout = null
  let round = [0]
  let drawn = -1
  let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches

  function draw(frame) {
    const [x, y, width, height] = cellOf(frame, layout, sheet.width, sheet.height)
    canvas.width = Math.max(1, Math.round(width))
    canvas.height = Math.max(1, Math.round(height))
    canvas.getContext("2d").drawImage(sheet, x, y, width, height, 0, 0, canvas.width, canvas.height)
    canvas.dataset.frame = drawn = frame
  }

  function tick() {
    if (!sheet || !playing) return
    const frame = frameAt(performance.now() / 1000, layout.fps, round)
    if (frame !== drawn) draw(frame)
  }

  function play(on) {
    playing = on
    button.dataset.icon = on ? "pause" : "play"
    button.ariaLabel = on ? words("stop", "Stop") : words("play", "Play")
  }

  button.addEventListener("click", () => play(!playing))
  for (const event of ["pointerdown", "dblclick"]) button.addEventListener(event, (one) => one.stopPropagation())
  play(playing)
  const stop = whileSeen(element, tick)

  return {
    element,
    /** Shows a sheet, an ImageBitmap that is the player's from here on. */
    show(bitmap, next, label) {
      sheet?.close()
      if (layout?.frames !== next.frames) round = roundOf(next.frames)
      sheet = bitmap
      layout = next
      canvas.ariaLabel = label
      draw(drawn >= 0 && drawn < layout.frames ? drawn : 0)
    },
    close() {
      stop()
      sheet?.close()
      sheet = null
    },
  }
}
