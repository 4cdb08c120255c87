import assert from "node:assert/strict"
import { test } from "node:test"

import { cellOf, fitted, frameAt, layoutOf, roundOf } from "../../web/pure/sheet.js"

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

test("each frame is shown for 1/fps seconds, and the round repeats", () => {
  const round = roundOf(5)
  for (let frame = 0; frame < 23; frame++) {
    assert.equal(frameAt(frame / 7, 7, round), frame % 5)
    assert.equal(frameAt((frame + 0.99) / 7, 7, round), frame % 5)
  }
})

test("a picture fits into its box, whole and in the middle", () => {
  for (const [width, height, boxWidth, boxHeight] of [[16, 9, 300, 200], [9, 16, 300, 200], [1, 1, 5, 5]]) {
    const [x, y, w, h] = fitted(width, height, boxWidth, boxHeight)
    assert.ok(Math.abs(w / h - width / height) < 1e-9)
    assert.ok(Math.abs(2 * x + w - boxWidth) < 1e-9 && Math.abs(2 * y + h - boxHeight) < 1e-9)
    assert.ok(Math.abs(x) < 1e-9 || Math.abs(y) < 1e-9)
  }
})

test("what is no sheet is none", () => {
  const good = { frames: 5, columns: 3, rows: 2, fps: 6 }
  assert.deepEqual(layoutOf(good), good)
  for (const bad of [{ frames: 7 }, { frames: 0 }, { columns: 1.5 }, { rows: -2 }, { fps: 0 }, { fps: "x" }, { frames: undefined }]) {
    assert.equal(layoutOf({ ...good, ...bad }), null)
  }
})
