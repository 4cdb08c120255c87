/** Nodes of packs that nobody keeps up any more, SVDModelLoader and its kin, to ours. */

import { FIXED, OURS, fileOf, modelsOf, valuesOf } from "./convertible.js"
import { counterpart, isReplaced, keepOutputs, replace } from "./replacing.js"

const ASIDE = 40
const USUAL = { fps_id: 6, cond_aug: 0.02 }

/** Their files lie in a folder of their own, and their numbers of frames and steps belong to the loader. */
export function replaceOldLoader(work, node) {
  const { checkpoint } = valuesOf(node)
  const models = modelsOf(work, node, checkpoint)
  const why = replace(work, node, OURS.load, { names: ["checkpoint"], more: { models } })
  if (why) return why
  keepOutputs(work, node)
  moveFile(work, checkpoint)
  return undefined
}

/** One node of theirs prepares and samples; with us the second takes its place, and the first stands before it. */
export function replaceOldSampler(work, node) {
  const loader = work.view.source(node, "model").node
  if (!isReplaced(work, loader)) return "its SVDModelLoader stays, or is missing"
  const { checkpoint, num_frames: frames, num_steps: steps } = valuesOf(loader)
  const key = `${node.id} prepared`
  const parts = { clip_vision: [loader.id, 1], vae: [loader.id, 2] }
  const prepared = counterpart(work, node, OURS.prepare, {
    names: ["image", "motion_bucket_id", "fps", "noise_aug"],
    changes: { frames, ...FIXED },
    links: parts,
    more: { key, id: null, of: node.id, title: undefined },
  })
  const sampled = counterpart(work, node, OURS.sample, {
    names: ["model", "seed", "control_after_generate"],
    changes: { steps, ...guidanceOf(checkpoint) },
    more: { title: undefined },
  })
  if (prepared.why ?? sampled.why) return prepared.why ?? sampled.why
  const outputs = ["positive", "negative", "latent"]
  sampled.node.siblings = Object.fromEntries(outputs.map((name, slot) => [name, [key, slot]]))
  sampled.node.pos[1] += ASIDE
  work.plan.nodes.push(prepared.node, sampled.node)
  work.plan.gone.push(node.id)
  keepOutputs(work, node)
  ofPicturesSize(work, node, "1024×576")
  return undefined
}

export function replaceOldDecoder(work, node) {
  const loader = work.view.source(node, "model").node
  if (!isReplaced(work, loader)) return "its SVDModelLoader stays, or is missing"
  if (!isReplaced(work, work.view.source(node, "samples_z").node)) return "its SVDSampler stays, or is missing"
  const why = replace(work, node, OURS.decode, { names: ["latent"], links: { vae: [loader.id, 2] } })
  if (!why) keepOutputs(work, node)
  return why
}

/** One node for the whole way becomes ours for the whole way. */
export function replaceWhole(work, node) {
  const found = valuesOf(node)
  const checkpoint = found.checkpoint ?? `${found.version}.safetensors`
  const models = modelsOf(work, node, checkpoint)
  const why = replace(work, node, OURS.animate, {
    names: ["image", "frames", "steps", "motion", "seed", "control_after_generate"],
    changes: { checkpoint },
    more: { models },
  })
  if (why) return why
  keepOutputs(work, node)
  moveFile(work, checkpoint)
  ofPicturesSize(work, node, "the checkpoint's own")
  for (const [name, usual] of Object.entries(USUAL)) {
    if (found[name] === usual && !work.view.link(node, name)) continue
    work.plan.notes.push(`${node.type} ${node.id}: ${name} is left out, SVD Animate has the checkpoint's own`)
  }
  return undefined
}

/** Guidance of the two released models, which these packs read from files beside them. */
function guidanceOf(checkpoint) {
  const [least, most] = /xt/i.test(fileOf(checkpoint)) ? [1.5, 3] : [1, 2.5]
  return { shape: "linear", min_guidance: least, max_guidance: most }
}

function moveFile({ plan }, checkpoint) {
  plan.notes.push(`${fileOf(checkpoint)} is read from models/checkpoints: move or link it there`)
}

function ofPicturesSize({ plan }, node, size) {
  plan.notes.push(`${node.type} ${node.id} had the picture's size; now the picture is cropped to ${size}`)
}
