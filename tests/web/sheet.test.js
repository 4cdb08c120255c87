import assert from "node:assert/strict"
import { test } from "node:test"

import { cellOf, frameAt, layoutOf, roundOf, seamOf, shrinkOf } from "../../web/pure/sheet.js"

test("cells lie in their place and overlap none", () => {
  for (const [frames, columns, rows] of [[25, 5, 5], [14, 4, 4], [7, 3, 3], [1, 1, 1], [36, 6, 6]]) {
    for (const [width, height] of [[512, 288], [511, 293], [64, 64], [7, 5]]) {
      for (let index = 0; index < frames; index++) {
        const [x, y, w, h] = cellOf(index, { columns, rows }, width, height)
        const [column, row] = [index % columns, Math.floor(index / columns)]
        assert.ok(w > 0 && h > 0)
        assert.ok(x > (column * width) / columns && x + w < ((column + 1) * width) / columns)
        assert.ok(y > (row * height) / rows && y + h < ((row + 1) * height) / rows)
      }
    }
  }
})

test("a round goes through all frames, and back without the ends twice", () => {
  assert.deepEqual(roundOf(4), [0, 1, 2, 3])
  assert.deepEqual(roundOf(4, true), [0, 1, 2, 3, 2, 1])
  assert.deepEqual(roundOf(2, true), [0, 1])
  assert.deepEqual(roundOf(1, true), [0])
})

test("the seam goes from the last frames to the first", () => {
  assert.deepEqual(seamOf(14), [11, 12, 13, 0, 1, 2])
  assert.deepEqual(seamOf(4), [2, 3, 0, 1])
  assert.deepEqual(seamOf(3), [2, 0])
  assert.deepEqual(seamOf(1), [0])
})

test("frames are kept within their bytes", () => {
  const clip = { width: 1024, height: 576, frames: 25 }
  for (const clips of [[clip], [clip, clip], [{ width: 64, height: 64, frames: 5 }]]) {
    const shrink = shrinkOf(clips, 2 ** 26)
    const bytes = clips.reduce((sum, { width, height, frames }) => sum + 4 * width * shrink * height * shrink * frames, 0)
    assert.ok(shrink <= 1 && bytes <= 2 ** 26 * (1 + 1e-9))
  }
  assert.equal(shrinkOf([{ width: 64, height: 64, frames: 5 }], 2 ** 26), 1)
})

test("each frame is shown for 1/fps seconds, and the round repeats", () => {
  const round = roundOf(5)
  for (let frame = 0; frame < 23; frame++) {
    assert.equal(frameAt(frame / 7, 7, round), frame % 5)
    assert.equal(frameAt((frame + 0.99) / 7, 7, round), frame % 5)
  }
})

test("what is no sheet is none", () => {
  const good = { frames: 5, columns: 3, rows: 2, fps: 6 }
  assert.deepEqual(layoutOf(good), good)
  for (const bad of [{ frames: 7 }, { frames: 0 }, { columns: 1.5 }, { rows: -2 }, { fps: 0 }, { fps: "x" }, { frames: undefined }]) {
    assert.equal(layoutOf({ ...good, ...bad }), null)
  }
})
