/** Presets in SVD KSampler, from Python's table, and the page's settings. */

import { app } from "../../scripts/app.js"
import { onValue, setValues, widgetOf } from "./host/nodes.js"
import { loadWords, words } from "./host/text.js"
import { asOneStep } from "./host/undo.js"
import { MOVING, SIZE, USUAL_SIZE } from "./pure/settings.js"
import { presetOf } from "./pure/presets.js"

app.registerExtension({
  name: "Stillmotion.Actions",
  settings: [
    {
      id: MOVING,
      category: ["Stillmotion", "Preview", "Moving"],
      name: "Moving preview while sampling",
      tooltip: "Off: core's still preview of the frames.",
      type: "boolean",
      defaultValue: true,
    },
    {
      id: SIZE,
      category: ["Stillmotion", "Preview", "Size"],
      name: "Largest height of the moving preview",
      tooltip: "In pixels of the graph.",
      type: "slider",
      attrs: { min: 90, max: 480, step: 10 },
      defaultValue: USUAL_SIZE,
    },
  ],
  setup: loadWords,
  nodeCreated(node) {
    const presets = presetsOf(node)
    if (presets) addPresets(node, presets)
  },
  getNodeMenuItems(node) {
    const presets = presetsOf(node)
    if (!presets) return []
    const options = Object.keys(presets).map((name) => ({ content: name, callback: () => choose(node, presets[name]) }))
    return [{ content: words("presets", "Preset"), has_submenu: true, submenu: { options } }]
  },
})

/** Values of a node's widgets by the names of presets, if the node has some. */
function presetsOf(node) {
  return node.constructor.nodeData?.input?.required?.sampler?.[1]?.stillmotion_presets
}

function addPresets(node, presets) {
  const custom = words("preset_custom", "custom")
  const names = Object.keys(presets)
  const chosen = (name) => (presets[name] ? choose(node, presets[name]) : show())
  const options = { values: [...names, custom], serialize: false }
  const combo = node.addWidget("combo", words("preset", "preset"), custom, chosen, options)
  combo.serialize = false
  combo.tooltip = words("preset_tooltip", "Fills in the values above; custom once one of them is another.")
  const show = () => {
    combo.value = presetOf(presets, (name) => widgetOf(node, name)?.value) ?? custom
    node.setDirtyCanvas(true, true)
  }
  const inputs = new Set(names.flatMap((name) => Object.keys(presets[name])))
  for (const name of inputs) {
    const widget = widgetOf(node, name)
    if (widget) onValue(node, widget, show)
  }
  show()
}

function choose(node, values) {
  asOneStep(() => setValues(node, values))
}
