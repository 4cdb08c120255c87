/** The command that puts our nodes in the place of core's for SVD, and of those of older packs. */

import { app } from "../../scripts/app.js"
import { tell } from "./host/dialog.js"
import { allGraphs } from "./host/nodes.js"
import { carryOut } from "./host/regraph.js"
import { words } from "./host/text.js"
import { asOneStep } from "./host/undo.js"
import { planOf } from "./pure/convert.js"
import { OURS, isConvertible } from "./pure/convertible.js"
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
    .map(({ graph, chosen }) => ({ graph, plan: planOf(graph.asSerialisable(), { chosen, ...fromDefinitions() }) }))
    .filter(({ plan }) => plan.nodes.length || plan.left.length)
  const itemList = plans.flatMap(({ graph, plan }) => told(graph, plan))
  if (!plans.some(({ plan }) => plan.nodes.length)) {
    const none = words("convert_none", "No SVD nodes of core or of older packs are here.")
    return tell("info", words("convert_nothing", "Nothing to convert"), itemList.join("\n") || none)
  }
  const message = words("convert_ask", "These nodes are replaced; Ctrl+Z brings them back.")
  if (!(await app.extensionManager.dialog.confirm({ title: label(), message, itemList }))) return
  asOneStep(() => plans.forEach(({ graph, plan }) => carryOut(graph, plan)))
  app.canvas.setDirty(true, true)
  const left = plans.flatMap(({ plan }) => leftOf(plan))
  tell(left.length ? "warn" : "success", words("convert_done", "Converted to Stillmotion"), left.join("\n"))
}

/** The graphs to convert: what is connected with the selected nodes, or the workflow with all its subgraphs. */
function scopes() {
  const selected = [...app.canvas.selectedItems].filter((item) => item.type && item.inputs)
  if (!selected.length) return allGraphs().map((graph) => ({ graph }))
  const inside = selected.flatMap(({ subgraph }) => (subgraph ? [subgraph, ...subgraph.subgraphs.values()] : []))
  const { graph } = app.canvas
  const chosen = connectedWith(graph.asSerialisable(), selected.map((node) => node.id))
  return [{ graph, chosen }, ...[...new Set(inside)].map((graph) => ({ graph }))]
}

/** What a plan needs of our nodes' definitions: limits of inputs, and addresses of files. */
function fromDefinitions() {
  const definitionOf = (type) => LiteGraph.registered_node_types[type].nodeData
  const inputOf = (type, name) => {
    const { required, optional } = definitionOf(type).input
    return { ...required, ...optional }[name]?.[1]
  }
  const limits = (type, name) => ({ ...inputOf(type, name), title: definitionOf(type).display_name })
  return { limits, downloads: inputOf(OURS.load, "checkpoint").stillmotion_downloads }
}

const titleOf = (type) => LiteGraph.registered_node_types[type]?.title ?? type

function told(graph, plan) {
  const replaced = plan.nodes.map(({ id, of = id, type }) => {
    return `${titleOf(graph.getNodeById(of).type)} (${of}) → ${titleOf(type)}`
  })
  const ids = new Set(plan.nodes.map(({ id }) => id))
  const merged = plan.gone
    .filter((id) => !ids.has(id) && !plan.nodes.some(({ of }) => of === id))
    .map((id) => `${titleOf(graph.getNodeById(id).type)} (${id}) → ${titleOf(OURS.sample)}`)
  return [...replaced, ...merged, ...plan.notes.map((note) => words(...note)), ...leftOf(plan)]
}

function leftOf({ left }) {
  return left.map(({ id, type, why }) => `${titleOf(type)} (${id}) ${words("convert_left", "stays:")} ${words(...why)}`)
}
