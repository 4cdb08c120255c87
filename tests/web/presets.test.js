import assert from "node:assert/strict"
import { test } from "node:test"

import { presetOf } from "../../web/pure/presets.js"

const PRESETS = { slow: { steps: 30, shape: "linear" }, fast: { steps: 10, shape: "linear" } }

test("a preset is told by all its values", () => {
  assert.equal(presetOf(PRESETS, (name) => ({ steps: 10, shape: "linear" })[name]), "fast")
  assert.equal(presetOf(PRESETS, (name) => ({ steps: 11, shape: "linear" })[name]), undefined)
  assert.equal(presetOf(PRESETS, (name) => ({ steps: 30 })[name]), undefined)
})
