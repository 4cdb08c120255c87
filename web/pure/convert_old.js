/** Nodes of packs that nobody keeps up any more, SVDModelLoader and its kin, to ours. */

import { FIXED, OLD, OURS, fileOf, modelsOf, valuesOf } from "./convertible.js"
import { counterpart, isReplaced, put, replace } from "./replacing.js"
import { say } from "./words.js"

const ASIDE = 40
const USUAL = { fps_id: 6, cond_aug: 0.02 }

/** Their files lie in a folder of their own, and their numbers of frames and steps belong to the loader. */
export function replaceOldLoader(work, node) {
  const { checkpoint } = valuesOf(node)
  const models = modelsOf(work, node, checkpoint)
  const why = replace(work, node, OURS.load, { names: ["checkpoint"], more: { models } })
  if (!why) moveFile(work, checkpoint)
  return why
}

/** One node of theirs prepares and samples; with us the second takes its place, and the first stands before it. */
export function replaceOldSampler(work, node) {
  const loader = work.view.source(node, "model").node
  if (!isReplaced(work, loader)) return without(OLD.loader)
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
  put(work, node, [prepared.node, sampled.node])
  note(work, say("note_cropped", "{type} {id} had the picture's size; now the picture is cropped to 1024×576", node))
  return undefined
}

export function replaceOldDecoder(work, node) {
  const loader = work.view.source(node, "model").node
  if (!isReplaced(work, loader)) return without(OLD.loader)
  if (!isReplaced(work, work.view.source(node, "samples_z").node)) return without(OLD.sampler)
  return replace(work, node, OURS.decode, { names: ["latent"], links: { vae: [loader.id, 2] } })
}

const without = (type) => say("stays_without", "its {type} stays, or is missing", { type })

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
  moveFile(work, checkpoint)
  note(work, say("note_cropped_own", "{type} {id} had the picture's size; now it is the checkpoint's own", node))
  for (const [name, usual] of Object.entries(USUAL)) {
    if (found[name] === usual && !work.view.link(node, name)) continue
    const values = { ...node, name }
    note(work, say("note_left_out", "{type} {id}: {name} is left out, SVD Animate has the checkpoint's own", values))
  }
  return undefined
}

/** Guidance of the two released models, which these packs read from files beside them. */
function guidanceOf(checkpoint) {
  const [least, most] = /xt/i.test(fileOf(checkpoint)) ? [1.5, 3] : [1, 2.5]
  return { shape: "linear", min_guidance: least, max_guidance: most }
}

function moveFile(work, checkpoint) {
  const file = fileOf(checkpoint)
  note(work, say("note_move", "{file} is read from models/checkpoints: move or link it there", { file }))
}

const note = ({ plan }, said) => plan.notes.push(said)
