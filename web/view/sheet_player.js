/** A canvas that loops a sheet of frames, with a button that stops it. */

import { cellOf, frameAt, roundOf } from "../pure/sheet.js"
import { make, on, playButton, wantsStill } from "./elements.js"
import { whileSeen } from "./while_seen.js"

/** Makes a player: its element, `show` for the next sheet and `close`. */
export function makeSheetPlayer(words) {
  const canvas = make("canvas", { role: "img" })
  const toggle = playButton(words, () => play(!playing))
  const element = make("div", { className: "stillmotion sheet" }, canvas, toggle.element)

  let sheet = null
  let layout = null
  let drawn = -1
  let playing

  function draw(frame) {
    const cell = cellOf(frame, layout, sheet.width, sheet.height)
    canvas.getContext("2d").drawImage(sheet, ...cell, 0, 0, canvas.width, canvas.height)
    canvas.dataset.frame = drawn = frame
  }

  function tick() {
    if (!sheet || !playing) return
    const frame = frameAt(performance.now() / 1000, layout.fps, layout.round)
    if (frame !== drawn) draw(frame)
  }

  function play(on) {
    playing = on
    toggle.show(on)
  }

  on(toggle.element, "pointerdown dblclick", (event) => event.stopPropagation())
  play(!wantsStill())
  const stop = whileSeen(element, tick)

  return {
    element,
    /** Shows a sheet, an ImageBitmap that is the player's from here on. */
    show(bitmap, next, label) {
      sheet?.close()
      sheet = bitmap
      layout = { ...next, round: roundOf(next.frames) }
      const [, , width, height] = cellOf(0, layout, sheet.width, sheet.height)
      Object.assign(canvas, { width: Math.max(1, Math.round(width)), height: Math.max(1, Math.round(height)) })
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
