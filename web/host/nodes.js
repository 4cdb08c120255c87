/** Nodes of the graph, their widgets, and elements of ours in them. Node ids here are execution ids, "4:1". */

import { app } from "../../../scripts/app.js"

/** The nodes that an execution id names, outermost first; the last is the node itself. Empty where one is gone. */
export function pathOf(executionId) {
  const nodes = []
  let graph = app.rootGraph
  for (const id of String(executionId).split(":")) {
    const node = graph?.getNodeById(id)
    if (!node) return []
    nodes.push(node)
    graph = node.subgraph
  }
  return nodes
}

/** The workflow's graph, and those of all its subgraphs. */
export const allGraphs = () => [app.rootGraph, ...app.rootGraph.subgraphs.values()]

export const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name)

/** Sets a widget's value as a user does. */
export function setValue(widget, value) {
  widget.value = value
  widget.callback?.(value)
}

/** Sets those of some values, by the names of widgets, for which a node has one. */
export function setValues(node, values) {
  for (const [name, value] of Object.entries(values)) {
    const widget = widgetOf(node, name)
    if (widget) setValue(widget, value)
  }
}

/** Calls `act`, with what it was called with, after each call of an object's function of that name, if any. */
export function after(object, name, act) {
  const called = object[name]
  object[name] = function (...values) {
    const result = called?.apply(this, values)
    act.apply(this, values)
    return result
  }
}

/** Calls `redraw` after each change of a widget's value: by a user, a script, a loaded workflow or an undo. */
export function onValue(node, widget, redraw) {
  after(widget, "callback", () => redraw())
  after(node, "onConfigure", () => redraw())
}

/**
 * Puts an element into a node, below its widgets, and gives its widget. It is in no prompt and no workflow.
 * The node becomes no wider, and taller only where the element has no room.
 */
export function mount(node, name, element, { least, most }) {
  linkStyle()
  const options = { serialize: false, hideOnZoom: false, getMinHeight: least, getMaxHeight: most }
  // A type of our own: the page draws its own control for those that it knows.
  const widget = node.addDOMWidget(name, `stillmotion_${name}`, element, options)
  widget.serialize = false
  // Keys in it are not the graph's, which deletes the node at Delete; the page's own with Ctrl are.
  element.addEventListener("keydown", (event) => event.ctrlKey || event.metaKey || event.stopPropagation())
  const [width, height] = node.size
  node.setSize([width, Math.max(height, node.computeSize()[1])])
  return widget
}

/** The player in a node under a name: the one that is there, or a new one of `make`, closed with its node. */
export function playerIn(node, name, make, heights) {
  const mounted = widgetOf(node, name)
  if (mounted) return mounted.player
  const player = make()
  const widget = mount(node, name, player.element, heights)
  widget.player = player
  after(widget, "onRemove", () => player.close())
  return player
}

/** The node at an input; null without one, and for a node outside of any graph, such as a copy being made. */
export function sourceOf(node, inputName) {
  const slot = node.inputs?.findIndex((input) => input.name === inputName) ?? -1
  return slot < 0 || !node.graph ? null : node.getInputNode(slot)
}

/** URL of the picture at an input: the file that its node loads, or else that node's last output; or null. */
export function pictureAt(node, inputName) {
  const source = sourceOf(node, inputName)
  if (!source) return null
  const file = widgetOf(source, "image")?.value
  if (typeof file === "string" && file) return inputUrl(file)
  const locator = app.extensionManager.workflow.nodeToNodeLocatorId(source)
  const picture = app.nodeOutputs?.[locator]?.images?.[0]
  return picture ? fileUrl(picture) : null
}

/** URL of a file of the input folder, by its name as Load Image has it: "folder/name.png [input]". */
export function inputUrl(name) {
  const [, subfolder = "", filename, type = "input"] = name.match(/^(?:(.*)\/)?(.*?)(?: \[(input|output|temp)\])?$/)
  return fileUrl({ filename, subfolder, type })
}

/** URL below the host's root of a file in one of its folders. */
export function fileUrl({ filename, subfolder = "", type = "output" }) {
  const root = new URL("../../../", import.meta.url)
  return String(new URL(`view?${new URLSearchParams({ filename, subfolder, type })}`, root))
}

/** Links the style sheet, once a page. */
export function linkStyle() {
  const href = String(new URL("../style.css", import.meta.url))
  if (document.querySelector(`link[href="${href}"]`)) return
  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }))
}
