// Scales over frames: the table that clips/curve.py is tested with, and properties of what the page changes.

import assert from "node:assert/strict"
import {readFileSync} from "node:fs"
import test from "node:test"

import * as curve from "../../web/pure/curve.js"
import {rounded} from "../../web/pure/numbers.js"

const TABLE = JSON.parse(readFileSync(new URL("tables/curves.json", import.meta.url)))

/** The value of each frame. */
function sample(scales, frames) {
  const at = (frame) => curve.valueAt(scales, frames > 1 ? frame / (frames - 1) : 0)
  return scales.values ?? Array.from({length: frames}, (_, frame) => at(frame))
}

test("texts give the numbers of the table", () => {
  for (const {text, frames, numbers} of TABLE.filter(row => row.numbers)) {
    const found = sample(curve.parse(text), frames)
    assert.equal(found.length, frames, text)
    found.forEach((value, frame) => assert.ok(Math.abs(value - numbers[frame]) < 1e-7, `${text}: ${found}`))
  }
})

test("texts of no scales are refused with the words of Python", () => {
  for (const {text, refused} of TABLE.filter(row => row.refused))
    assert.throws(() => curve.parse(text), error => error.message.includes(refused), text)
})

/** Numbers that look drawn by chance and are the same in each run. */
function random(seed) {
  return () => (seed = (seed * 48271) % 2147483647) / 2147483647
}

function randomCurve(next) {
  const positions = [...new Set(Array.from({length: 2 + Math.floor(next() * 10)},
    () => Math.round(next() * 1e4) / 1e4))].sort((a, b) => a - b)
  if (positions.length < 2) return randomCurve(next)
  return {points: positions.map(x => [x, rounded(next() * 200 - 100)]), smooth: next() < 0.5}
}

test("parse after print is the identity, for curves and lists", () => {
  const next = random(1)
  for (let round = 0; round < 500; round++) {
    const drawn = randomCurve(next)
    assert.deepEqual(curve.parse(curve.print(drawn)), drawn)
    const list = {values: drawn.points.map(([, value]) => value)}
    assert.deepEqual(curve.parse(curve.print(list)), list)
  }
})

test("a smooth curve stays between its points", () => {
  const next = random(2)
  for (let round = 0; round < 200; round++) {
    const drawn = {...randomCurve(next), smooth: true}
    for (let index = 1; index < drawn.points.length; index++) {
      const [[x0, y0], [x1, y1]] = drawn.points.slice(index - 1, index + 1)
      for (const share of [0.01, 0.3, 0.5, 0.9]) {
        const value = curve.valueAt(drawn, x0 + share * (x1 - x0))
        assert.ok(value >= Math.min(y0, y1) - 1e-9 && value <= Math.max(y0, y1) + 1e-9)
      }
    }
  }
})

test("a fitted list keeps its ends, and stays within the tolerance", () => {
  const next = random(3)
  for (let round = 0; round < 100; round++) {
    const values = Array.from({length: 1 + Math.floor(next() * 60)}, () => rounded(next() * 5))
    const fitted = curve.fit(values, 0.05)
    assert.ok(fitted.points.length <= curve.MOST_POINTS)
    sample(fitted, values.length).forEach((value, frame) =>
      assert.ok(Math.abs(value - values[frame]) <= 0.05 + 1e-9))
  }
  assert.deepEqual(curve.fit([1, 2, 3, 4], 0.01).points, [[0, 1], [1, 4]])
  assert.ok(curve.fit(Array.from({length: 500}, (_, frame) => frame % 2), 0.01).points.length <= 64)
})

test("whatever a person does, the text stays one that is read", () => {
  const next = random(4)
  for (let round = 0; round < 300; round++) {
    let drawn = randomCurve(next)
    for (let step = 0; step < 20; step++) {
      const index = Math.floor(next() * drawn.points.length)
      const [x, y] = [next() * 3 - 1, next() * 400 - 200]
      drawn = [curve.moved(drawn, index, x, y), curve.removed(drawn, index),
        curve.inserted(drawn, Math.max(0, Math.min(1, x)), y).curve][Math.floor(next() * 3)]
      assert.deepEqual(curve.parse(curve.print(drawn)), drawn)
    }
  }
})

test("shapes are those of samplers/guidance.py", () => {
  const at = (shape, frames) => sample(curve.ofShape(shape, 1, 3, frames, 0.1), frames)
  assert.deepEqual(at("constant", 2), [3, 3])
  assert.deepEqual(at("linear", 5), [1, 1.5, 2, 2.5, 3])
  assert.deepEqual(at("triangle", 5), [1, 2, 3, 2, 1])
  assert.deepEqual(at("trapezoid", 5), [3, 3, 3, 3, 3])
  assert.deepEqual(at("trapezoid", 10), [1, 3, 3, 3, 3, 3, 3, 3, 3, 1])
  assert.deepEqual(at("trapezoid", 25).map(rounded), [1, 3, ...Array(21).fill(3), 3, 1])
})

test("the nearest place is hit, within the radius", () => {
  assert.equal(curve.hit([[0, 0], [10, 0]], [7, 1], 12), 1)
  assert.equal(curve.hit([[0, 0], [10, 0]], [5, 40], 12), -1)
})
