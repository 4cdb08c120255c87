/** The command that puts our nodes in the place of core's for SVD, and of those of older packs. */

import { app } from "../../scripts/app.js"
import { carryOut } from "./host/regraph.js"
import { words } from "./host/text.js"
import { asOneStep } from "./host/undo.js"
import { planOf } from "./pure/convert.js"
import { isConvertible } from "./pure/convertible.js"
import { connectedWith } from "./pure/replacing.js"

const COMMAND = "Stillmotion.Convert"
const LABEL = "Convert SVD nodes to Stillmotion"

app.registerExtension({
  name: "Stillmotion.Convert",
  commands: [{ id: COMMAND, icon: "pi pi-arrow-right-arrow-left", label: LABEL, function: convert }],
  menuCommands: [{ path: ["Extensions", "Stillmotion"], commands: [COMMAND] }],
  getCanvasMenuItems(canvas) {
    return canvas.graph.nodes.some(isConvertible) ? [{ content: label(), callback: convert }] : []
  },
  getNodeMenuItems(node) {
    return isConvertible(node) ? [{ content: label(), callback: convert }] : []
  },
  getSelectionToolboxCommands(node) {
    return node.type && isConvertible(node) ? [COMMAND] : []
  },
})

const label = () => words("convert", LABEL)

/** Shows what would become of the selection, or else of the whole workflow, and does it if the user agrees. */
async function convert() {
  const plans = scopes()
    .map(({ graph, chosen }) => ({ graph, plan: planOf(graph.asSerialisable(), { chosen, limits: limitsOf }) }))
    .filter(({ plan }) => plan.nodes.length || plan.left.length)
  const { dialog, toast } = app.extensionManager
  const some = plans.some(({ plan }) => plan.nodes.length)
  const lines = plans.flatMap(({ graph, plan }) => told(graph, plan))
  if (!some) {
    const detail = lines.join("\n") || words("convert_none", "No SVD nodes of core or of older packs are here.")
    toast.add({ severity: "info", summary: words("convert_nothing", "Nothing to convert"), detail, life: 10_000 })
    return
  }
  const message = words("convert_ask", "These nodes are replaced; Ctrl+Z brings them back.")
  if (!(await dialog.confirm({ title: label(), message, itemList: lines }))) return
  asOneStep(() => plans.forEach(({ graph, plan }) => carryOut(graph, plan)))
  app.canvas.setDirty(true, true)
  const left = plans.flatMap(({ graph, plan }) => leftOf(graph, plan))
  const summary = words("convert_done", "Converted to Stillmotion")
  toast.add({ severity: left.length ? "warn" : "success", summary, detail: left.join("\n"), life: 10_000 })
}

/** The graphs to convert: what is connected with the selected nodes, or the workflow with all its subgraphs. */
function scopes() {
  const selected = [...app.canvas.selectedItems].filter((item) => item.type && item.inputs)
  if (!selected.length) return [app.rootGraph, ...app.rootGraph.subgraphs.values()].map((graph) => ({ graph }))
  const inside = selected.flatMap(({ subgraph }) => (subgraph ? [subgraph, ...subgraph.subgraphs.values()] : []))
  const { graph } = app.canvas
  const chosen = connectedWith(graph.asSerialisable(), selected.map((node) => node.id))
  return [{ graph, chosen }, ...[...new Set(inside)].map((graph) => ({ graph }))]
}

/** Limits of an input of ours, from its node's definition. */
function limitsOf(type, name) {
  const { nodeData } = LiteGraph.registered_node_types[type]
  const found = { ...nodeData.input.required, ...nodeData.input.optional }[name]
  return found && { ...found[1], title: nodeData.display_name }
}

const titleOf = (type) => LiteGraph.registered_node_types[type]?.title ?? type

function told(graph, plan) {
  const replaced = plan.nodes.map(({ id, type }) => {
    const old = id === null ? "+" : `${titleOf(graph.getNodeById(id).type)} (${id})`
    return `${old} → ${titleOf(type)}`
  })
  const ids = new Set(plan.nodes.map(({ id }) => id))
  const merged = plan.gone
    .filter((id) => !ids.has(id))
    .map((id) => `${titleOf(graph.getNodeById(id).type)} (${id}) → ${words("convert_merged", "part of SVD KSampler")}`)
  return [...replaced, ...merged, ...plan.notes, ...leftOf(graph, plan)]
}

function leftOf(graph, { left }) {
  return left.map(({ id, type, why }) => `${titleOf(type)} (${id}) ${words("convert_left", "stays:")} ${why}`)
}
