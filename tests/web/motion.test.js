import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

import { MOST_POINTS, countOf, parse } from "../../web/pure/motion.js"

const TABLE = JSON.parse(readFileSync(new URL("tables/motions.json", import.meta.url)))

test("motions are read, or refused with the words of Python", () => {
  for (const { motion, text = JSON.stringify(motion), refused } of TABLE) {
    if (refused === undefined) assert.deepEqual(parse(text), motion)
    else assert.throws(() => parse(text), (error) => error.message.includes(refused), `${text}: ${refused}`)
  }
})

test("points and keys are counted in all", () => {
  const stroke = { points: Array(2100).fill([0, 0]) }
  const motion = { regions: [{ polygon: Array(2000).fill([0, 0]), strokes: [stroke] }] }
  assert.equal(countOf(motion), 4100)
  assert.throws(() => parse(JSON.stringify(motion)), /4100 points and keys/)
  assert.ok(MOST_POINTS < 4100)
  assert.throws(() => parse(" ".repeat(262145)), /262145 bytes/)
})
