/** A clip of the command line's that was dropped on the page: the menu of its node builds the graph that makes it. */

import { app } from "../../scripts/app.js"
import { inputUrl, onValue, setValues, widgetOf } from "./host/nodes.js"
import { words } from "./host/text.js"
import { asOneStep } from "./host/undo.js"
import { graphOfClip, settingsIn } from "./pure/command_clip.js"

const WIDGETS = { LoadVideo: "file", LoadImage: "image" }
const CLIP = /\.(mp4|webm|webp)( \[\w+\])?$/i
const LARGEST = 2 ** 28
const COLUMN = 360

const found = new WeakMap() // node -> settings in its clip

app.registerExtension({
  name: "Stillmotion.Clips",
  nodeCreated(node) {
    const widget = widgetOf(node, WIDGETS[node.constructor.nodeData?.name])
    if (widget) onValue(node, widget, () => look(node, widget.value))
  },
  getNodeMenuItems(node) {
    const settings = found.get(node)
    if (!settings) return []
    return [{ content: words("clip_graph", "Build the graph of this clip"), callback: () => build(node, settings) }]
  },
})

/** Reads the settings in a node's clip, and says so where there are some. */
async function look(node, file) {
  found.delete(node)
  if (typeof file !== "string" || !CLIP.test(file)) return
  const answer = await fetch(inputUrl(file))
  if (!answer.ok || Number(answer.headers.get("content-length")) > LARGEST) return
  const settings = settingsIn(new TextDecoder("latin1").decode(await answer.arrayBuffer()))
  if (!settings) return
  found.set(node, settings)
  const summary = words("clip_found", "A clip of Stillmotion's command line")
  const detail = words("clip_how", "The menu of its node builds the graph that makes it.")
  app.extensionManager.toast.add({ severity: "info", summary, detail, life: 10_000 })
}

/** Puts the graph below the node of the clip. */
function build(node, settings) {
  const { nodes, left } = graphOfClip(settings)
  const { graph } = node
  const top = node.pos[1] + node.size[1] + 80
  asOneStep(() => {
    const placed = nodes.map(({ type, values }, column) => {
      const each = LiteGraph.createNode(type)
      setValues(each, values)
      graph.add(each)
      each.pos = [node.pos[0] + column * COLUMN, top]
      return each
    })
    nodes.forEach(({ inputs }, number) => {
      for (const [name, [origin, slot]] of Object.entries(inputs)) {
        placed[origin].connect(slot, placed[number], placed[number].findInputSlot(name))
      }
    })
  })
  app.canvas.setDirty(true, true)
  if (!left.length) return
  const summary = words("clip_left", "These settings of the clip have no place in this graph")
  app.extensionManager.toast.add({ severity: "warn", summary, detail: left.join(", "), life: 10_000 })
}
