import assert from "node:assert/strict"
import { test } from "node:test"

import { check } from "../../web/pure/motion.js"
import * as shapes from "../../web/pure/shapes.js"
import { distanceTo, simplified } from "../../web/pure/simplify.js"

function random(seed) {
  return () => (seed = (seed * 48271) % 2147483647) / 2147483647
}

test("a simplified line keeps its ends, and stays within the tolerance of all points", () => {
  const next = random(1)
  for (let round = 0; round < 100; round++) {
    let at = [0.5, 0.5]
    const points = Array.from({ length: 1 + Math.floor(next() * 200) }, () =>
      (at = [at[0] + (next() - 0.5) / 50, at[1] + (next() - 0.5) / 50]))
    const line = simplified(points, 0.005)
    assert.deepEqual([line[0], line.at(-1)], [points[0], points.at(-1)])
    for (const point of points) {
      const off = line.map((end, index) => distanceTo(point, line[Math.max(index - 1, 0)], end))
      assert.ok(Math.min(...off) <= 0.005 + 1e-12)
    }
  }
})

test("keys of a path have times that are read, from 0 to 1, by the length of the way", () => {
  assert.deepEqual(shapes.keysOf([[0, 0], [0.1, 0], [0.4, 0]]).map(({ time }) => time), [0, 0.25, 1])
  const next = random(2)
  for (let round = 0; round < 50; round++) {
    const points = Array.from({ length: 2 + Math.floor(next() * 100) }, () =>
      shapes.place(next() < 0.3 ? [0.5, 0.5] : [next(), next()]))
    const path = shapes.keysOf(points)
    check({ drags: [{ path }] })
    assert.deepEqual([path[0].time, path.at(-1).time], [0, 1])
  }
})

test("null is as if left out: in a camera, a stroke, a drag and a key", () => {
  const motion = {
    camera: { pan: null, zoom: null, roll: null, ease: null },
    regions: [{ polygon: null, strokes: [{ points: [[0.5, 0.5]], width: null, erase: null }] }],
    drags: [{ width: null, path: [{ x: 0, y: 0, scale: null }, { x: 0.5, y: 0, degrees: null }] }],
  }
  check(motion)
  assert.deepEqual(shapes.cameraOf(motion), shapes.cameraOf({}))
  assert.deepEqual(shapes.cameraOf({}), { pan: [0, 0], zoom: 1, roll: 0, ease: "linear" })
  const [region, drag] = shapes.entriesOf(motion)
  assert.ok(shapes.isInside(region.area, [0.52, 0.5], 1) && !shapes.isInside(region.area, [0.53, 0.5], 1))
  assert.ok(shapes.isInside(drag.area, [0.04, 0], 1) && !shapes.isInside(drag.area, [0.06, 0], 1))
  assert.deepEqual(shapes.poseAt(motion.drags[0].path, 1), { x: 0.5, y: 0, scale: 1, degrees: 0 })
})

test("a path is where its keys are, relative to the first one", () => {
  const path = [{ x: 0.2, y: 0.2, scale: 2 }, { x: 0.4, y: 0.2, scale: 4, degrees: 90 }]
  assert.deepEqual(shapes.poseAt(path, 0), { x: 0, y: 0, scale: 1, degrees: 0 })
  assert.deepEqual(shapes.poseAt(path, 1), { x: 0.2, y: 0, scale: 2, degrees: 90 })
  assert.ok(Math.abs(shapes.poseAt(path, 0.5).scale - Math.SQRT2) < 1e-12) // geometrically, as warp.py
  assert.deepEqual(shapes.poseAt([], 0.5), { x: 0, y: 0, scale: 1, degrees: 0 })
})

const SQUARE = [[0.1, 0.1], [0.3, 0.1], [0.3, 0.3], [0.1, 0.3]]

test("an area is its polygon, then strokes added and erased in order", () => {
  const erased = { points: [[0.2, 0.2]], width: 0.05, erase: true }
  const area = { polygon: SQUARE, strokes: [{ points: [[0.5, 0.5], [0.7, 0.5]], width: 0.1 }, erased] }
  assert.ok(shapes.isInside(area, [0.15, 0.15], 1))
  assert.ok(!shapes.isInside(area, [0.2, 0.2], 1))
  assert.ok(shapes.isInside(area, [0.6, 0.54], 1))
  assert.ok(!shapes.isInside(area, [0.6, 0.56], 1))
  assert.ok(shapes.isInside(area, [0.6, 0.59], 2)) // widths are parts of the width
})

test("points are grabbed before paths and areas, and the selected entry before others", () => {
  const path = [{ x: 0.2, y: 0.2 }, { x: 0.8, y: 0.2 }]
  const motion = { regions: [{ polygon: SQUARE, path }, { polygon: SQUARE }] }
  assert.deepEqual(shapes.hitAt(motion, [0.8, 0.21], 0.02, 1), { number: 0, part: "key", index: 1 })
  assert.deepEqual(shapes.hitAt(motion, [0.5, 0.21], 0.02, 1), { number: 0, part: "path" })
  assert.deepEqual(shapes.hitAt(motion, [0.15, 0.25], 0.02, 1), { number: 1, part: "area" })
  assert.deepEqual(shapes.hitAt(motion, [0.15, 0.25], 0.02, 1, 0), { number: 0, part: "area" })
  assert.deepEqual(shapes.hitAt(motion, [0.1, 0.3], 0.02, 1, 0), { number: 0, part: "corner", index: 3 })
  assert.equal(shapes.hitAt(motion, [0.9, 0.9], 0.02, 1), null)
})

test("a picture is fitted as clips/picture.py does", () => {
  assert.deepEqual(shapes.fittedIn("stretch", [100, 50], [64, 64]), [0, 0, 1, 1])
  assert.deepEqual(shapes.fittedIn("crop", [100, 50], [64, 64]), [-0.5, 0, 2, 1])
  assert.deepEqual(shapes.fittedIn("pad", [100, 50], [64, 64]), [0, 0.25, 1, 0.5])
})
