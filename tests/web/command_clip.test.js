import assert from "node:assert/strict"
import { test } from "node:test"

import { graphOfClip, settingsIn } from "../../web/pure/command_clip.js"

const SETTINGS = {
  ...{ checkpoint: "models/svd_xt.safetensors", image: "photos/a \"{photo.jpg", width: 1024, height: 576, num_frames: 25 },
  ...{ fps: 6, seed: 7, steps: 30, sampler: "heun", schedule: "karras", guidance: "linear", min_guidance: 1.5 },
  ...{ max_guidance: 3, churn: 0, feature_cache: 1, stillmotion: "0.1.0", ring: false },
}
const text = (settings) => `\0ilst{"other": 1}\0${JSON.stringify(settings).replaceAll('":', '": ')}\0mdat"{{`

test("settings are found among a file's bytes", () => {
  assert.deepEqual(settingsIn(text(SETTINGS)), SETTINGS)
  assert.deepEqual(settingsIn(text({ ...SETTINGS, motion: { drags: [{ x: 1 }] } })).motion, { drags: [{ x: 1 }] })
})

test("what is no clip of the command line's has none", () => {
  for (const other of ["", "{", '"stillmotion": "', '{"stillmotion": "0.1.0"', '{"stillmotion": "0.1.0"}']) {
    assert.equal(settingsIn(other), null)
  }
})

test("the graph has the settings, and says which it has no place for", () => {
  const { nodes, left } = graphOfClip({ ...SETTINGS, feature_cache: 2, control: "depth.safetensors", preset: null })
  assert.deepEqual(left.sort(), ["control", "feature_cache"])
  const of = (type) => nodes.find((node) => node.type === `Stillmotion${type}`).values
  assert.equal(of("LoadCheckpoint").checkpoint, "svd_xt.safetensors")
  assert.deepEqual([of("ImageToVideo").frames, of("ImageToVideo").seed], [25, 7])
  const { sampler, shape, steps } = of("KSampler")
  assert.deepEqual([sampler, shape, steps], ["stillmotion heun", "linear", 30])
  assert.deepEqual(graphOfClip(SETTINGS).left, [])
})

test("a curve, a list and one number are guidance too", () => {
  const of = (guidance) => graphOfClip({ ...SETTINGS, guidance }).nodes[3].values
  assert.deepEqual([of("0:1, 1:3").shape, of("0:1, 1:3").scales], ["list", "0:1, 1:3"])
  assert.equal(of([1, 2]).scales, "1, 2")
  assert.deepEqual([of(2).shape, of(2).max_guidance], ["constant", 2])
})
