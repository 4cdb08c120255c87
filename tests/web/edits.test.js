import assert from "node:assert/strict"
import { test } from "node:test"

import * as edits from "../../web/pure/edits.js"
import { check, parse } from "../../web/pure/motion.js"
import { entriesOf } from "../../web/pure/shapes.js"

const STROKE = [[0.2, 0.2], [0.25, 0.2], [0.3, 0.2]]

test("a brush paints a region, and goes on in the selected one of its kind", () => {
  const first = edits.painted({}, -1, "move", STROKE)
  assert.deepEqual(first.motion.regions[0].strokes[0].points, [[0.2, 0.2], [0.3, 0.2]])
  const second = edits.painted(first.motion, first.selected, "move", STROKE)
  assert.equal(second.motion.regions.length, 1)
  assert.equal(second.motion.regions[0].strokes.length, 2)
  const frozen = edits.painted(second.motion, second.selected, "freeze", STROKE)
  assert.deepEqual(frozen.motion.regions.map(({ kind }) => kind), ["move", "freeze"])
  assert.equal(frozen.selected, 1)
})

test("an arrow that begins in a region is its path, and elsewhere a drag; a frozen one takes none", () => {
  const { motion } = edits.painted({}, -1, "move", STROKE)
  const moved = edits.pathed(motion, -1, [[0.25, 0.2], [0.5, 0.5]], 1)
  assert.deepEqual(moved.motion.regions[0].path.map(({ x, y, time }) => [x, y, time]), [[0.25, 0.2, 0], [0.5, 0.5, 1]])
  const drag = edits.pathed(motion, -1, [[0.8, 0.8], [0.9, 0.9]], 1)
  assert.equal(drag.motion.drags.length, 1)
  assert.equal(drag.selected, 1)
  const frozen = edits.painted({}, -1, "freeze", STROKE).motion
  assert.equal(edits.pathed(frozen, -1, [[0.25, 0.2], [0.5, 0.5]], 1).motion.drags.length, 1)
  assert.equal(edits.patched(moved.motion, 0, { kind: "freeze" }).regions[0].path, undefined)
})

test("whatever a person does is read again, with keys that mean nothing here", () => {
  let seed = 3
  const next = () => (seed = (seed * 48271) % 2147483647) / 2147483647
  const points = (count) => Array.from({ length: count }, () => [next() * 4 - 1.5, next() * 4 - 1.5])
  for (let round = 0; round < 60; round++) {
    let motion = { colour: "red" }
    for (let step = 0; step < 12; step++) {
      const count = entriesOf(motion).length
      const one = Math.floor(next() * count)
      const doings = [
        () => edits.painted(motion, one, next() < 0.5 ? "move" : "freeze", points(5)).motion,
        () => edits.outlined(motion, points(4)).motion,
        () => edits.pathed(motion, one, points(6), 1.5).motion,
        () => edits.erased(motion, one, points(3), 0.1, 1.5).motion,
        () => edits.filmed(motion, { pan: [0.1, -0.1], zoom: 1.2 }),
        () => (count ? edits.shifted(motion, { number: one, part: "area" }, points(1)[0]) : motion),
        () => (count ? edits.patched(motion, one, { id: `named ${round} ${step}` }) : motion),
        () => (count > 3 ? edits.without(motion, one) : motion),
      ]
      motion = doings[Math.floor(next() * doings.length)]()
      check(motion)
      const text = edits.print(motion, 16 / 9)
      assert.deepEqual(edits.print(parse(text), 16 / 9), text)
      assert.equal(parse(text).colour, "red")
    }
  }
})

test("the text has the version, the shape and a time for each key", () => {
  const path = [{ x: 0, y: 0 }, { x: 0.5, y: 0 }, { x: 1, y: 1 }]
  const written = JSON.parse(edits.print({ drags: [{ path }] }, 1024 / 576))
  assert.equal(written.version, 1)
  assert.equal(written.aspect, 1.7778)
  assert.deepEqual(written.drags[0].path.map(({ time }) => time), [0, 0.5, 1])
})
