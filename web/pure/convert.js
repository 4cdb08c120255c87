/** A graph with core's nodes for SVD, or those of older packs, to a plan of our nodes in their place. */

import { replaceOldDecoder, replaceOldLoader, replaceOldSampler, replaceWhole } from "./convert_old.js"
import {
  CONDITIONING, DECODERS, FIXED, GUIDANCE, HARMLESS, LOADER, OLD, OTHERS, OURS, SAMPLER, SCHEDULERS, SHORTENED,
  UNRELATED, WHOLE, modelsOf, valuesOf,
} from "./convertible.js"
import { MOST_STEPS_BACK, isOurs, isReplaced, replace, viewOf } from "./replacing.js"
import { say } from "./words.js"

const RUNS = 0

/**
 * The plan for a graph as its `asSerialisable` gives it: `nodes` to make, each under a key, with `inputs`
 * [origin, slot] of the old graph and `siblings` [key, slot]; `outputs` that move, "id:slot" -> [key, slot]; `gone`
 * ids; `left` nodes with why, and `notes`, both in words of say().
 * chosen: ids to convert, or null for all; limits(type, input) -> the input's min, max and step, and
 * the node's title; downloads: addresses of files by name.
 */
export function planOf(graph, { chosen = null, limits = () => undefined, downloads = {} } = {}) {
  const plan = { nodes: [], outputs: {}, gone: [], left: [], notes: [] }
  const work = { plan, limits, downloads, view: viewOf(graph), wanted: (node) => !chosen || chosen.includes(node.id) }
  const { nodes } = work.view
  const is = (...types) => ({ type }) => types.includes(type)
  const loaders = loadersOf(work)
  const steps = [
    [({ id }) => loaders.has(id), replaceLoader],
    [is(OLD.loader), replaceOldLoader],
    [is(CONDITIONING), replaceConditioning],
    [(node) => node.type === SAMPLER && isOfSvd(work, node), replaceSampler],
    [is(OLD.sampler), replaceOldSampler],
    [(node) => DECODERS.includes(node.type) && isOfSvd(work, node), replaceDecoder],
    [is(OLD.decoder), replaceOldDecoder],
    [is(...WHOLE), replaceWhole],
    [({ type }) => GUIDANCE[type], removeGuidance],
    [isUnknown, (_, { type }) => OTHERS[type] ?? say("stays_unknown", "has no counterpart")],
  ]
  for (const [belongs, replace] of steps) {
    for (const node of nodes.filter((each) => work.wanted(each) && belongs(each))) {
      const why = replace(work, node)
      if (why) plan.left.push({ id: node.id, type: node.type, why })
    }
  }
  return plan
}

/** Ids of loaders that serve SVD and nothing of another model. */
function loadersOf({ view }) {
  const of = (types) => view.nodes.filter((node) => types(node.type)).map((node) => view.source(node, "vae").node)
  const others = new Set(of((type) => type in OTHERS))
  const loaders = of((type) => type === CONDITIONING).filter((node) => node?.type === LOADER && !others.has(node))
  return new Set(loaders.map((node) => node.id))
}

/** Whether a node is of a released type that mentions SVD, and none of its own steps replaces it. */
function isUnknown({ type }) {
  if (type in OTHERS) return true
  const replaced = [LOADER, CONDITIONING, ...WHOLE, ...Object.values(OLD)].includes(type)
  return !replaced && /svd|stable.?video/i.test(type) && !UNRELATED.test(type)
}

/** Whether a latent comes, through samplers, from a node that prepares SVD. */
function isOfSvd({ view }, node) {
  let origin = view.source(node, node.type === SAMPLER ? "positive" : "samples").node
  for (let back = 0; origin && back < MOST_STEPS_BACK; back++) {
    if ([CONDITIONING, OURS.prepare].includes(origin.type)) return true
    const name = ["latent_image", "latent", "samples", "positive"].find((each) => view.link(origin, each))
    origin = name && view.source(origin, name).node
  }
  return false
}

function replaceLoader(work, node) {
  const { ckpt_name: file } = valuesOf(node)
  const more = { models: modelsOf(work, node, file) }
  return replace(work, node, OURS.load, { names: ["checkpoint"], more, outputs: 3 })
}

function replaceConditioning(work, node) {
  const parts = ["clip_vision", "vae"].map((name) => work.view.source(node, name).node)
  if (!parts.every((part) => isOurs(work, part))) return say("stays_loader", "its loader stays, or is out of sight")
  const numbers = ["width", "height", "frames", "fps", "motion_bucket_id", "noise_aug"]
  const names = ["clip_vision", "vae", "image", ...numbers]
  return replace(work, node, OURS.prepare, { names, changes: FIXED, outputs: 3 })
}

function replaceSampler(work, node) {
  const { view } = work
  const prepared = view.source(node, "positive").node
  if (!isOurs(work, prepared)) return say("stays_conditioning", "its conditioning stays, or goes through another node")
  const { scheduler, sampler_name: sampler, denoise, cfg } = valuesOf(node)
  if (!SCHEDULERS.includes(scheduler))
    return say("stays_scheduler", "its scheduler is {scheduler}, not karras or exponential", { scheduler })
  if (SHORTENED.includes(sampler))
    return say("stays_sampler", "its sampler {sampler} has a shorter schedule in core's node", { sampler })
  if (denoise !== 1)
    return say("stays_denoise", "its denoise is {denoise}; core counts its steps otherwise", { denoise })
  const linked = ["scheduler", "sampler_name", "denoise"].find((name) => view.link(node, name))
  if (linked) return isLinked(linked)
  const guidance = view.source(node, "model").node
  const shape = GUIDANCE[guidance?.type]
  const type = strangeOnTheWay(view, shape ? guidance : node)
  if (type)
    return say("stays_strange", "its model comes through {type}, whose effect SVD KSampler may not keep", { type })
  if (shape && guidance.mode !== RUNS) return say("stays_muted", "its guidance is muted or bypassed")
  if (shape && view.link(guidance, "min_cfg")) return isLinked("min_cfg")
  const links = shape ? { model: view.link(guidance, "model") } : {}
  if (shape && !links.model) return say("stays_no_model", "its guidance has no model")
  const sources = ["model", "positive", "negative", "latent"]
  const numbers = ["seed", "control_after_generate", "steps", "sampler", "schedule", "max_guidance"]
  const changes = { shape: shape ?? "constant", min_guidance: shape ? valuesOf(guidance).min_cfg : cfg }
  return replace(work, node, OURS.sample, { names: [...sources, ...numbers], changes, links })
}

const isLinked = (name) => say("stays_linked", "its {name} is linked", { name })

/** The first type between a node and its loader that may change guidance or noise levels. */
function strangeOnTheWay(view, node) {
  let found = view.source(node, "model").node
  for (let back = 0; found && view.link(found, "model") && back < MOST_STEPS_BACK; back++) {
    if (!HARMLESS.includes(found.type)) return found.type
    found = view.source(found, "model").node
  }
  return undefined
}

function replaceDecoder(work, node) {
  const { node: loader } = work.view.source(node, "vae")
  if (!isOurs(work, loader)) return say("stays_vae", "its VAE is of another loader")
  return replace(work, node, OURS.decode, { names: ["latent", "vae"] })
}

function removeGuidance(work, node) {
  const consumers = work.view.consumers(node.id)
  const replaced = consumers.filter((id) => isReplaced(work, { id }))
  if (!replaced.length) return undefined
  if (replaced.length < consumers.length) return say("stays_shared", "another sampler needs it")
  work.plan.gone.push(node.id)
  return undefined
}
