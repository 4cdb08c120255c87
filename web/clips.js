/** A clip of the command line's that was dropped on the page: the menu of its node builds the graph that makes it. */

import { app } from "../../scripts/app.js"
import { tell } from "./host/dialog.js"
import { inputUrl, onValue, setValues, widgetOf } from "./host/nodes.js"
import { words } from "./host/text.js"
import { asOneStep } from "./host/undo.js"
import { graphOfClip, settingsIn } from "./pure/command_clip.js"

const WIDGETS = { LoadVideo: "file", LoadImage: "image" }
const CLIP = /\.(mp4|webm|webp)( \[\w+\])?$/i
const READ = 2 ** 21 // bytes of a file's start and of its end, where writers put what is said about it
const COLUMN = 360

const seen = new Map() // file -> what is in it, read once: a step of undo makes all nodes anew
const found = new WeakMap() // node -> settings in its clip

app.registerExtension({
  name: "Stillmotion.Clips",
  nodeCreated(node) {
    const widget = widgetOf(node, WIDGETS[node.constructor.nodeData?.name])
    if (widget) onValue(node, widget, () => look(node, widget))
  },
  getNodeMenuItems(node) {
    const settings = found.get(node)
    if (!settings) return []
    return [{ content: words("clip_graph", "Build the graph of this clip"), callback: () => build(node, settings) }]
  },
})

/** Reads the settings in a node's clip, and says so where there are some. */
async function look(node, widget) {
  const file = widget.value
  found.delete(node)
  if (typeof file !== "string" || !CLIP.test(file)) return
  const isNew = !seen.has(file)
  if (isNew) seen.set(file, settingsOf(file))
  const settings = await seen.get(file)
  if (!settings || widget.value !== file) return
  found.set(node, settings)
  if (!isNew) return
  const how = words("clip_how", "The menu of its node builds the graph that makes it.")
  tell("info", words("clip_found", "A clip of Stillmotion's command line"), how)
}

async function settingsOf(file) {
  for (const range of [`0-${READ - 1}`, `-${READ}`]) {
    const answer = await fetch(inputUrl(file), { headers: { Range: `bytes=${range}` } })
    if (!answer.ok) return void seen.delete(file) // it may come yet
    const settings = settingsIn(new TextDecoder("latin1").decode(await answer.arrayBuffer()))
    if (settings) return settings
  }
  return null
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
  const without = words("clip_left", "These settings of the clip have no place in this graph")
  if (left.length) tell("warn", without, left.join(", "))
}
