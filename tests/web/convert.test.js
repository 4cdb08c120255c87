import assert from "node:assert/strict"
import { test } from "node:test"

import { planOf } from "../../web/pure/convert.js"
import { connectedWith } from "../../web/pure/replacing.js"
import { pushes } from "../../web/pure/spread.js"
import { filled } from "../../web/pure/words.js"

/** A graph as the page has it, of {id: [type, {input: [origin, slot]}, widget values, more]}. */
function graphOf(listed) {
  const links = []
  const nodes = Object.entries(listed).map(([key, [type, inputs, values = [], more = {}]]) => ({
    id: Number(key),
    type,
    pos: [Number(key) * 100, 0],
    mode: 0,
    widgets_values: values,
    inputs: Object.entries(inputs).map(([name, [origin, slot]], target) => {
      const target_id = Number(key)
      links.push({ id: links.length + 1, origin_id: origin, origin_slot: slot, target_id, target_slot: target })
      return { name, link: links.length }
    }),
    ...more,
  }))
  return { nodes, links }
}

const LIMITS = {
  width: { min: 64, max: 4096, step: 64, title: "SVD Image to Video" },
  motion_bucket_id: { min: 0, max: 1023, step: 1, title: "SVD Image to Video" },
}
const limits = (type, name) => (type === "StillmotionImageToVideo" ? LIMITS[name] : undefined)

const core = (changes = {}) => ({
  15: ["ImageOnlyCheckpointLoader", {}, ["svd/svd_xt.safetensors"]],
  23: ["LoadImage", {}, ["photo.png", "image"]],
  12: [
    "SVD_img2vid_Conditioning",
    { clip_vision: [15, 1], init_image: [23, 0], vae: [15, 2] },
    [1024, 576, 25, 100, 8, 0.05],
  ],
  14: ["VideoLinearCFGGuidance", { model: [15, 0] }, [1.2]],
  3: [
    "KSampler",
    { model: [14, 0], positive: [12, 0], negative: [12, 1], latent_image: [12, 2] },
    [42, "randomize", 20, 2.5, "dpmpp_2m", "karras", 1],
  ],
  8: ["VAEDecode", { samples: [3, 0], vae: [15, 2] }],
  10: ["SaveAnimatedWEBP", { images: [8, 0] }],
  ...changes,
})
const downloads = { "svd_xt.safetensors": "…/resolve/main/svd_xt.safetensors" }
const planOfCore = (changes, options = {}) => planOf(graphOf(core(changes)), { limits, downloads, ...options })
const nodeOf = (plan, id) => plan.nodes.find((node) => node.id === id)
const told = ([, english, values]) => filled(english, values)
const whyOf = (plan, id) => told(plan.left.find((each) => each.id === id).why)
const notesOf = (plan) => plan.notes.map(told).join()

test("core's chain becomes ours, with its values and links", () => {
  const plan = planOfCore()
  assert.deepEqual(plan.left, [])
  const of = (id) => [nodeOf(plan, id).type, nodeOf(plan, id).values, nodeOf(plan, id).inputs]
  assert.deepEqual(of(15), ["StillmotionLoadCheckpoint", { checkpoint: "svd/svd_xt.safetensors" }, {}])
  assert.deepEqual(nodeOf(plan, 15).models, [
    { name: "svd_xt.safetensors", url: downloads["svd_xt.safetensors"], directory: "checkpoints" },
  ])
  const size = { width: 1024, height: 576, frames: 25 }
  const fixed = { control_after_generate: "fixed" }
  const numbers = { ...size, motion_bucket_id: 100, fps: 8, noise_aug: 0.05, ...fixed }
  const parts = { clip_vision: [15, 1], vae: [15, 2], image: [23, 0] }
  assert.deepEqual(of(12), ["StillmotionImageToVideo", numbers, parts])
  const guidance = { shape: "linear", min_guidance: 1.2, max_guidance: 2.5 }
  const steps = { seed: 42, control_after_generate: "randomize", steps: 20 }
  assert.deepEqual(of(3), [
    "StillmotionKSampler",
    { ...steps, sampler: "dpmpp_2m", schedule: "karras", ...guidance },
    { model: [15, 0], positive: [12, 0], negative: [12, 1], latent: [12, 2] },
  ])
  assert.deepEqual(of(8), ["StillmotionDecode", {}, { latent: [3, 0], vae: [15, 2] }])
  assert.deepEqual(plan.gone.sort((a, b) => a - b), [3, 8, 12, 14, 15])
  assert.deepEqual(plan.outputs["12:2"], ["12", 2])
})

test("a sampler without guidance over the frames has a constant one, the triangle stays one", () => {
  const [, inputs, values] = core()[3]
  const constant = planOfCore({ 3: ["KSampler", { ...inputs, model: [15, 0] }, values], 14: ["Note", {}] })
  assert.equal(nodeOf(constant, 3).values.shape, "constant")
  assert.equal(nodeOf(constant, 3).values.max_guidance, 2.5)
  const triangle = planOfCore({ 14: ["VideoTriangleCFGGuidance", { model: [15, 0] }, [1]] })
  assert.equal(nodeOf(triangle, 3).values.shape, "triangle")
})

test("what would give another clip stays, and is said", () => {
  const sampler = (...values) => planOfCore({ 3: ["KSampler", core()[3][1], values] })
  assert.match(whyOf(sampler(1, "fixed", 20, 2.5, "euler", "normal", 1), 3), /scheduler is normal/)
  assert.match(whyOf(sampler(1, "fixed", 20, 2.5, "uni_pc", "karras", 1), 3), /shorter schedule/)
  assert.match(whyOf(sampler(1, "fixed", 20, 2.5, "euler", "karras", 0.5), 3), /denoise is 0.5/)
  const stays = sampler(1, "fixed", 20, 2.5, "euler", "normal", 1)
  assert.ok(!stays.gone.includes(14) && !stays.gone.includes(3))
  assert.ok(nodeOf(stays, 8) && nodeOf(stays, 12))
  const shifted = planOfCore({
    14: ["VideoLinearCFGGuidance", { model: [20, 0] }, [1]],
    20: ["ModelSamplingContinuousEDM", { model: [15, 0] }, ["v_prediction", 120, 0.002]],
  })
  assert.match(whyOf(shifted, 3), /ModelSamplingContinuousEDM/)
  const narrow = planOfCore({ 12: ["SVD_img2vid_Conditioning", core()[12][1], [1000, 576, 25, 127, 6, 0]] })
  assert.match(whyOf(narrow, 12), /width is 1000; SVD Image to Video takes a multiple of 64 from 64 to 4096/)
  assert.match(whyOf(narrow, 3), /conditioning stays/)
})

test("guidance that another sampler needs stays", () => {
  const plan = planOfCore({
    4: ["KSampler", core()[3][1], [1, "fixed", 20, 2.5, "euler", "normal", 1]],
    9: ["SaveLatent", { samples: [4, 0] }],
  })
  assert.ok(nodeOf(plan, 3) && !plan.gone.includes(14))
  assert.match(whyOf(plan, 14), /another sampler/)
})

test("a text model's nodes and those of SV3D stay", () => {
  const plan = planOfCore({
    16: ["CheckpointLoaderSimple", {}, ["sd_xl.safetensors"]],
    17: ["KSampler", { model: [16, 0], positive: [18, 0] }, [1, "fixed", 15, 8, "euler", "normal", 1]],
    18: ["CLIPTextEncode", { clip: [16, 1] }, ["a river"]],
    20: ["VAEDecode", { samples: [17, 0], vae: [16, 2] }],
  })
  assert.deepEqual(plan.left, [])
  assert.deepEqual(plan.gone.filter((id) => id > 15), [])
  const orbit = planOfCore({ 30: ["SV3D_Conditioning", { vae: [15, 2] }, [576, 576, 21, 0]] })
  assert.match(whyOf(orbit, 30), /orbit/)
  assert.deepEqual(orbit.nodes, [])
  const unknown = planOfCore({ 30: ["SVD_Something", {}], 31: ["NunchakuSVDQuantLoader", {}] })
  assert.deepEqual(unknown.left.map(({ id }) => id), [30])
})

test("only what is chosen is converted", () => {
  assert.deepEqual(planOfCore({}, { chosen: [15] }).gone, [15])
  const plan = planOfCore({}, { chosen: [3, 12] })
  assert.deepEqual(plan.gone, [])
  assert.match(whyOf(plan, 12), /loader stays/)
})

test("links through reroutes are followed, with ids as text too; a linked number is not judged", () => {
  const { nodes, links } = graphOf(
    core({
      12: ["SVD_img2vid_Conditioning", { ...core()[12][1], vae: [40, 0], width: [-10, 3] }, [1000, 576, 25, 127, 6, 0]],
      40: ["Reroute", { "": [15, 2] }],
    }),
  )
  const named = links.map((link) => ({ ...link, origin_id: String(link.origin_id), target_id: String(link.target_id) }))
  const plan = planOf({ nodes, links: named }, { limits })
  assert.deepEqual(nodeOf(plan, 12).inputs.vae, [40, 0])
  assert.deepEqual(nodeOf(plan, 12).inputs.width, [-10, 3])
})

test("a selection takes what is connected with it", () => {
  const graph = graphOf(core({ 50: ["LoadImage", {}], 51: ["SaveImage", { images: [50, 0] }] }))
  assert.deepEqual(connectedWith(graph, ["51"]), [51, 50])
  assert.equal(connectedWith(graph, [14]).length, 7)
})

test("an older pack's loader, sampler and decoder become ours", () => {
  const plan = planOf(
    graphOf({
      1: ["SVDModelLoader", {}, ["svd_xt.safetensors", 25, 30, "cuda"]],
      2: ["LoadImage", {}, ["photo.png", "image"]],
      3: ["SVDSampler", { image: [2, 0], model: [1, 0] }, [90, 7, 0.03, 23, "fixed", "cuda"]],
      4: ["SVDDecoder", { samples_z: [3, 0], model: [1, 0] }, [14, "cuda"]],
    }),
  )
  assert.deepEqual(plan.left, [])
  const prepared = plan.nodes.find((node) => node.type === "StillmotionImageToVideo")
  assert.deepEqual(prepared.values, {
    ...{ motion_bucket_id: 90, fps: 7, noise_aug: 0.03, frames: 25 },
    control_after_generate: "fixed",
  })
  assert.deepEqual(prepared.inputs, { image: [2, 0], clip_vision: [1, 1], vae: [1, 2] })
  const { values, inputs, siblings } = nodeOf(plan, 3)
  assert.deepEqual([values.seed, values.steps, values.min_guidance, values.max_guidance], [23, 30, 1.5, 3])
  assert.deepEqual([inputs, siblings.latent], [{ model: [1, 0] }, [prepared.key, 2]])
  assert.deepEqual(nodeOf(plan, 4).inputs, { latent: [3, 0], vae: [1, 2] })
  assert.match(notesOf(plan), /models\/checkpoints/)
})

test("one node for the whole way becomes SVD Animate, and what it has not is said", () => {
  const image = { image: [2, 0] }
  const old = planOf(graphOf({ 34: ["SVDimg2vid", image, ["svd", 14, 24, 7, 130, 0.02, 61, 1, true]] }))
  assert.equal(nodeOf(old, 34).type, "StillmotionAnimate")
  const values = { frames: 14, steps: 24, motion: 130, seed: 61, checkpoint: "svd.safetensors" }
  assert.deepEqual(nodeOf(old, 34).values, values)
  assert.match(notesOf(old), /fps_id is left out/)
  assert.doesNotMatch(notesOf(old), /cond_aug/)
  const simple = ["svd_xt.safetensors", 25, 30, 127, 6, 0.02, 23, "fixed", 14, "cuda"]
  const plan = planOf(graphOf({ 5: ["SVDSimpleImg2Vid", image, simple] }))
  assert.equal(nodeOf(plan, 5).values.control_after_generate, "fixed")
})

test("nodes below one that has grown move down, others stay", () => {
  const rectangles = { 1: [0, 0, 100, 300], 2: [50, 100, 100, 50], 3: [50, 200, 100, 50], 4: [500, 0, 10, 10] }
  assert.deepEqual(pushes(rectangles, [1]), { 2: 220, 3: 190 })
  assert.deepEqual(pushes(rectangles, []), {})
})
