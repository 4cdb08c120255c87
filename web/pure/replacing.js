/** What a plan of a conversion is made with: a view of the old graph, and nodes of ours for its nodes. */

import { RENAMED, valuesOf } from "./convertible.js"
import { say } from "./words.js"

export const MOST_STEPS_BACK = 32

/** An id as a plan has it: the page has numbers as text in some places. */
export const idOf = (id) => (Number.isInteger(Number(id)) ? Number(id) : id)

/** A graph's nodes, and what is connected to an input or an output. */
export function viewOf(graph) {
  const links = new Map((graph.links ?? []).map((link) => [link.id, linkOf(link)]))
  const nodes = graph.nodes.map((node) => ({ ...node, id: idOf(node.id) }))
  const byId = new Map(nodes.map((node) => [node.id, node]))
  /** [origin id, slot] of an input, or null. */
  const link = (node, name) => {
    const found = node.inputs?.find((input) => input.name === name)
    return links.get(found?.link)?.origin ?? null
  }
  /** The node behind an input, and its slot, through reroutes. */
  const source = (node, name) => {
    let origin = link(node, name)
    for (let back = 0; origin && back < MOST_STEPS_BACK; back++) {
      const found = byId.get(origin[0])
      if (found?.type !== "Reroute") return { node: found, slot: origin[1] }
      origin = links.get(found.inputs?.[0]?.link)?.origin ?? null
    }
    return { node: undefined, slot: 0 }
  }
  const consumers = (id) => [...links.values()].filter((each) => each.origin[0] === id).map((each) => each.target)
  return { nodes, link, source, consumers }
}

function linkOf({ origin_id: origin, origin_slot: slot, target_id: target }) {
  return { origin: [idOf(origin), slot], target: idOf(target) }
}

/** Whether a node of the old graph is one that the plan replaces. */
export const isReplaced = ({ plan }, node) => Boolean(node && plan.gone.includes(node.id))

/** Whether a node is of ours, or will be. */
export const isOurs = (work, node) => isReplaced(work, node) || node?.type.startsWith("Stillmotion")

/**
 * Has a node of ours take the place of one: under its id, with its values and links under our names, and with so
 * many of its outputs. `changes` replace values, `links` links. Gives why not, or undefined.
 */
export function replace(work, node, type, { outputs = 1, ...options }) {
  const { node: ours, why } = counterpart(work, node, type, options)
  if (!why) put(work, node, [ours], outputs)
  return why
}

/** Puts nodes of ours where one was; the links at its outputs begin at the one with its id. */
export function put({ plan }, { id }, nodes, outputs = 1) {
  plan.nodes.push(...nodes)
  plan.gone.push(id)
  for (let slot = 0; slot < outputs; slot++) plan.outputs[`${id}:${slot}`] = [String(id), slot]
}

/** The node of ours for one, as in `replace`, or why there is none. */
export function counterpart(work, node, type, { names, changes = {}, links = {}, more = {} }) {
  const old = (name) => RENAMED[node.type]?.[name] ?? name
  const found = valuesOf(node)
  const values = {}
  const inputs = {}
  for (const name of names) {
    if (found[old(name)] !== undefined) values[name] = found[old(name)]
    const link = work.view.link(node, old(name))
    if (link) inputs[name] = link
  }
  Object.assign(values, changes)
  Object.assign(inputs, links)
  const why = refusal(work, type, values, inputs)
  const { id, mode, title } = node
  const pos = Object.values(node.pos)
  return { why, node: { key: String(id), id, type, pos, mode, title, values, inputs, ...more } }
}

/** Why an input of ours can't have a value, or undefined; a linked one has its value from elsewhere. */
function refusal({ limits }, type, values, inputs) {
  for (const [name, value] of Object.entries(values)) {
    const limit = inputs[name] ? undefined : limits(type, name)
    if (typeof value !== "number" || limit?.max === undefined) continue
    const { min, max, step } = limit
    const uneven = Number.isInteger(step) && step > 1 && value % step
    if (value >= min && value <= max && !uneven) continue
    const facts = { name, value, min, max, step, title: limit.title }
    if (!(step > 1)) return say("stays_range", "{name} is {value}; {title} takes {min} to {max}", facts)
    return say("stays_steps", "{name} is {value}; {title} takes a multiple of {step} from {min} to {max}", facts)
  }
  return undefined
}

/** The ids of some nodes, and of all that links connect with them. */
export function connectedWith(graph, ids) {
  const links = (graph.links ?? []).map(linkOf)
  const found = new Set(ids.map(idOf))
  for (let size = -1; size !== found.size; ) {
    size = found.size
    for (const { origin, target } of links) {
      if (origin[0] < 0 || target < 0 || found.has(origin[0]) === found.has(target)) continue
      found.add(origin[0]).add(target)
    }
  }
  return [...found]
}
