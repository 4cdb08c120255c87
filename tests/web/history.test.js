import assert from "node:assert/strict"
import { test } from "node:test"

import { begun, did, redone, undone } from "../../web/pure/history.js"

test("undo takes back what was done, and redo does it again", () => {
  let seed = 1
  const next = () => (seed = (seed * 48271) % 2147483647) / 2147483647
  for (let round = 0; round < 100; round++) {
    let history = begun(0)
    for (let step = 1; step < 30; step++) {
      const choice = next()
      if (choice < 0.6) {
        const after = did(history, step)
        assert.equal(undone(after).value, history.value)
        assert.equal(redone(undone(after)).value, step)
        assert.deepEqual(undone(after).past, history.past)
        history = after
      } else if (choice < 0.8) history = undone(history)
      else history = redone(history)
    }
  }
})

test("there is nothing in front of the first step, nor behind the last one", () => {
  const history = begun(1)
  assert.equal(undone(history), history)
  assert.equal(redone(history), history)
  assert.equal(did(history, 1).past.length, 0)
  let long = begun(0)
  for (let step = 1; step <= 500; step++) long = did(long, step)
  assert.equal(long.past.length, 200)
})
