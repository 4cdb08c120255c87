/**
 * What went wrong in our code: the sentence in the node that failed and in the subgraphs around it, until the next
 * run, and for a while at the edge of the page, since a node may be too small to read. The host shows a log instead.
 */

import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"
import { mount, pathOf, widgetOf } from "./host/nodes.js"
import { within } from "./pure/numbers.js"
import { make } from "./view/elements.js"

const NAME = "failed"
const LINE = 16 // height of a line of text
const LETTER = 6.2 // width of a letter, in the mean
const MOST_HEIGHT = 200
const SHOWN_FOR = 20_000

/** The pack's folder: in the addresses of its scripts, and in the lines of a traceback. */
const FOLDER = decodeURIComponent(new URL(".", import.meta.url).pathname.split("/").at(-2))

/** Nodes with a sentence, and their heights before. */
const failed = new Map()

/** Whether an error comes from our code: in a node of ours, or in another's that runs our model. */
function isOurs({ node_type: type, traceback }) {
  const ours = type?.startsWith("Stillmotion")
  return ours || [traceback ?? []].flat().some((line) => line.split(/[\\/]/).includes(FOLDER))
}

function tell({ detail }) {
  const sentence = detail.exception_message?.trim()
  if (!sentence || !isOurs(detail)) return
  const nodes = pathOf(detail.node_id)
  if (nodes.at(-1)?.comfyClass !== detail.node_type) return // another workflow is open
  for (const node of nodes) show(node, sentence)
  const summary = nodes.at(-1).title
  app.extensionManager.toast.add({ severity: "error", summary, detail: sentence, life: SHOWN_FOR })
}

function show(node, sentence) {
  clear(node)
  const element = make("div", { className: "stillmotion failed", role: "alert", textContent: sentence })
  element.addEventListener("pointerdown", (event) => event.stopPropagation()) // to select its words
  const lines = () => sentence.split("\n").reduce((sum, line) => sum + Math.ceil((line.length * LETTER) / width()), 0)
  const width = () => Math.max(node.size[0] - 30, 60)
  const height = () => Math.round(within(2 * LINE, MOST_HEIGHT, (lines() + 1) * LINE))
  failed.set(node, node.size[1])
  mount(node, NAME, element, { least: height, most: height })
}

function clear(node) {
  const widget = widgetOf(node, NAME)
  if (widget) node.removeWidget(widget)
  if (failed.has(node)) node.setSize([node.size[0], Math.max(failed.get(node), node.computeSize()[1])])
  failed.delete(node)
}

function clearAll() {
  for (const node of [...failed.keys()]) clear(node)
}

api.addEventListener("execution_error", tell)
api.addEventListener("execution_start", clearAll)

app.registerExtension({ name: "Stillmotion.Errors" })
