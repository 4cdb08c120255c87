/** The editor of a guidance curve, in every node with `scales`. The text stays the value; this dresses it up. */

import { app } from "../../scripts/app.js"
import { after, mount, onValue, setValue, sourceOf, widgetOf } from "./host/nodes.js"
import { loadWords, words } from "./host/text.js"
import { endStep } from "./host/undo.js"
import { ofShape, parse, print } from "./pure/curve.js"
import { makeCurveView } from "./view/curve_view.js"

const LIST = "list"
const USUAL_FRAMES = 25
const NAMES = ["shape", "min_guidance", "max_guidance", "scales"]
const SHAPES = ["constant", "linear", "triangle", "trapezoid"]

app.registerExtension({
  name: "Stillmotion.Curve",
  setup: loadWords,
  nodeCreated(node) {
    const option = node.constructor.nodeData?.input?.required?.scales?.[1]?.stillmotion_curve
    const widgets = NAMES.map((name) => widgetOf(node, name))
    if (option && widgets.every(Boolean)) addCurve(node, widgets, option)
  },
})

function addCurve(node, widgets, option) {
  const [shape, min, max, text] = widgets
  let changing = false
  const view = makeCurveView({
    label: words("curve_label", "Guidance over the frames"),
    words,
    changed(scales) {
      changing = true // one redraw, after both values
      setValue(text, print(scales))
      if (shape.value !== LIST) setValue(shape, LIST)
      changing = false
      redraw()
      node.setDirtyCanvas(true, true)
      endStep()
    },
  })
  const redraw = () => {
    if (!changing) view.show(stateOf(node, { shape, min, max, text }, option))
  }
  mount(node, "curve", view.element, { least: () => 100, most: () => 180 })
  for (const widget of widgets) onValue(node, widget, redraw)
  after(node, "onConnectionsChange", () => redraw())
  redraw()
}

/** What the view shows of a node's values. */
function stateOf(node, { shape, min, max, text }, option) {
  const frames = framesOf(node)
  const linked = NAMES.some((name) => node.inputs?.find((input) => input.widget?.name === name)?.link != null)
  if (linked) return { scales: null, message: words("curve_linked", "A value comes over a link.") }
  if (SHAPES.includes(shape.value)) {
    const scales = ofShape(shape.value, min.value, max.value, frames ?? USUAL_FRAMES, option.edge)
    return { scales, frames, dimmed: true }
  }
  if (shape.value !== LIST) return { scales: null, message: words("curve_other", "The model has guidance of its own.") }
  if (!text.value.trim()) return { scales: ofShape("linear", min.value, max.value), frames, dimmed: true }
  try {
    const scales = parse(text.value)
    return { scales, frames: scales.values?.length ?? frames, dimmed: false }
  } catch (error) {
    return { scales: null, message: `scales ${words(...error.said)}` }
  }
}

/** How many frames the latent has that a node samples, if its source says so. */
function framesOf(node) {
  const source = sourceOf(node, "latent")
  const frames = source && widgetOf(source, "frames")?.value
  return Number.isInteger(frames) && frames > 0 ? frames : null
}
