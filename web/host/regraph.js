/** A plan of a conversion, carried out on a graph of the page. */

import { idOf } from "../pure/replacing.js"
import { pushes } from "../pure/spread.js"
import { setValues } from "./nodes.js"

const BORDER = -10 // the page's id for the inputs of a subgraph, as the origin of a link
const EXIT = -20 // … and for its outputs, as the target

/** Replaces nodes of a graph as planned. New nodes have the ids of those that they replace. */
export function carryOut(graph, plan) {
  const outside = plan.gone.flatMap((id) => linksFrom(graph, id)).filter(({ target }) => !plan.gone.includes(target))
  const held = membersOf(graph)
  const old = new Map(plan.gone.map((id) => [id, graph.getNodeById(id)]))
  const fresh = {}
  for (const each of plan.nodes) fresh[each.key] = nodeOf(each)
  for (const node of old.values()) graph.remove(node)
  for (const each of plan.nodes) place(graph, fresh[each.key], old.get(each.of ?? each.id), each)
  for (const each of plan.nodes) {
    for (const [name, origin] of Object.entries(each.inputs)) {
      join(graph, resolve(origin, plan, fresh), fresh[each.key], name)
    }
    for (const [name, [key, slot]] of Object.entries(each.siblings ?? {})) {
      join(graph, { node: fresh[key], slot }, fresh[each.key], name)
    }
  }
  for (const link of outside) leaveFor(graph, resolve([link.origin, link.slot], plan, fresh), link)
  makeRoom(graph, Object.values(fresh), held)
}

function nodeOf({ type, title, mode, values, models }) {
  const node = LiteGraph.createNode(type)
  if (title) node.title = title
  node.mode = mode ?? 0
  if (models) node.properties.models = models
  setValues(node, values)
  return node
}

/** At the old node's place, and no narrower. */
function place(graph, node, old, { id, pos }) {
  if (id !== null) node.id = old.id
  graph.add(node)
  node.pos = [pos[0], pos[1]]
  const [width, height] = node.computeSize()
  node.setSize([Math.max(width, old.size[0]), height])
}

function linksFrom(graph, id) {
  return [...graph.links.values()]
    .filter((link) => idOf(link.origin_id) === id)
    .map((link) => ({ origin: id, slot: link.origin_slot, target: idOf(link.target_id), targetSlot: link.target_slot }))
}

/** The new place of an output of the old graph. */
function resolve([id, slot], plan, fresh) {
  const moved = plan.outputs[`${id}:${slot}`]
  return moved ? { node: fresh[moved[0]], slot: moved[1] } : { id, slot }
}

function join(graph, { node, id, slot }, target, name) {
  const input = target.findInputSlot(name)
  if (input < 0) return
  if (id === BORDER) graph.inputNode.slots[slot]?.connect(target.inputs[input], target)
  else (node ?? graph.getNodeById(id))?.connect(slot, target, input)
}

function leaveFor(graph, { node, slot }, { target, targetSlot }) {
  if (!node) return
  if (target === EXIT) graph.outputNode.slots[targetSlot]?.connect(node.outputs[slot], node)
  else node.connect(slot, graph.getNodeById(target), targetSlot)
}

/** Groups with the ids of the nodes that they hold. */
function membersOf(graph) {
  return graph.groups.map((group) => {
    group.recomputeInsideNodes()
    return { group, ids: group.nodes.map((node) => node.id) }
  })
}

function makeRoom(graph, grown, held) {
  const title = LiteGraph.NODE_TITLE_HEIGHT
  const rectangles = {}
  for (const { id, pos, size } of graph.nodes) rectangles[id] = [pos[0], pos[1] - title, size[0], size[1] + title]
  const moves = pushes(rectangles, grown.map((node) => node.id))
  for (const node of graph.nodes) if (moves[node.id]) node.pos = [node.pos[0], node.pos[1] + moves[node.id]]
  for (const { group, ids } of held) {
    const inside = ids.map((id) => graph.getNodeById(id)).filter(Boolean)
    const [x, y, width, height] = group.boundingRect
    const right = Math.max(x + width, ...inside.map(({ pos, size }) => pos[0] + size[0] + 10))
    const bottom = Math.max(y + height, ...inside.map(({ pos, size }) => pos[1] + size[1] + 10))
    group.size = [right - x, bottom - y]
  }
}
