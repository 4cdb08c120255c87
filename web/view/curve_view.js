/** A curve that is drawn and edited: points by pointer, touch and keys; screen readers have a slider a point. */

import * as curve from "../pure/curve.js"
import { rounded, within } from "../pure/numbers.js"
import { button, cleared, make, on } from "./elements.js"

const EDGE = 12 // half a point's target, so that one at an end is whole
const STEP = 0.1

/**
 * An element with a curve, and a function that shows another one.
 *
 * changed(scales) gets the curve after each gesture. words(key, english, values) are of the page's language.
 */
export function makeCurveView({ label, words, changed }) {
  const canvas = make("canvas", { ariaHidden: "true" })
  const area = make("div", { className: "area", role: "group", ariaLabel: label }, canvas)
  const said = make("span", { className: "error", role: "status" })
  const view = { area, canvas, words, changed, scales: null, frames: null, handles: [], chosen: -1, range: null }
  const add = button("+", words("curve_add", "Add a point"), () => addPoint(view))
  const remove = button("−", words("curve_remove", "Remove the point"), () => removePoint(view))
  const smooth = button("∿", words("curve_smooth", "Round the corners"), () =>
    finish(view, { ...view.scales, smooth: !view.scales.smooth }))
  const fit = button(words("curve_fit", "to points"), words("curve_fit_list", "Turn the list into a curve"), () =>
    finish(view, curve.fit(view.scales.values, STEP / 10)))
  const row = make("div", { className: "row" }, add, remove, smooth, fit, said)
  const element = make("div", { className: "stillmotion curve" }, area, row)
  listen(view)
  new ResizeObserver(() => draw(view)).observe(canvas)
  const show = (state) => {
    Object.assign(view, { scales: state.scales, frames: state.frames, dimmed: state.dimmed })
    said.textContent = state.message ?? ""
    const isCurve = Boolean(state.scales?.points)
    add.hidden = remove.hidden = smooth.hidden = !isCurve
    fit.hidden = !state.scales?.values
    smooth.ariaPressed = String(Boolean(state.scales?.smooth))
    if (view.dragged === undefined) view.range = null
    draw(view)
  }
  return { element, show }
}

// Places on the drawing, in its own pixels, which a zoomed graph does not change.

const placesOf = (view) => (view.scales ? curve.placesOf(view.scales) : [])

const rangeOf = (view) => (view.range ??= curve.range(placesOf(view).map(([, value]) => value)))

const sizeOf = ({ canvas }) => [canvas.clientWidth - 2 * EDGE, canvas.clientHeight - 2 * EDGE]

function toPixels(view, [position, value]) {
  const [[low, high], [width, height]] = [rangeOf(view), sizeOf(view)]
  return [EDGE + position * width, EDGE + ((high - value) / (high - low)) * height]
}

function fromPixels(view, [x, y]) {
  const [[low, high], [width, height]] = [rangeOf(view), sizeOf(view)]
  return [within(0, 1, (x - EDGE) / width), high - ((y - EDGE) / height) * (high - low)]
}

/** The index of the point at a place in pixels; −1 for none. */
function pointAt(view, place, radius = 12) {
  return curve.hit(placesOf(view).map((point) => toPixels(view, point)), place, radius)
}

function pointerAt(view, event) {
  const box = view.canvas.getBoundingClientRect()
  const scale = view.canvas.clientWidth / box.width
  return [(event.clientX - box.x) * scale, (event.clientY - box.y) * scale]
}

// Points

function placeHandles(view) {
  const places = placesOf(view)
  const count = places.length > curve.MOST_POINTS ? 0 : places.length
  while (view.handles.length > count) view.handles.pop().remove()
  while (view.handles.length < count) {
    const handle = make("div", { className: "point", role: "slider", tabIndex: 0 })
    const index = view.handles.push(handle) - 1
    on(handle, "keydown", (event) => pressed(view, index, event))
    on(handle, "focus", () => (view.chosen = index))
    view.area.append(handle)
  }
  view.handles.forEach((handle, index) => {
    const [position, value] = places[index]
    const [x, y] = toPixels(view, places[index])
    Object.assign(handle.style, { left: `${x}px`, top: `${y}px` })
    handle.classList.toggle("dimmed", view.dimmed)
    handle.ariaLabel = view.words("curve_point", "Point {number} of {count}", { number: index + 1, count })
    Object.assign(handle, { ariaValueMin: curve.LOWEST, ariaValueMax: curve.HIGHEST, ariaValueNow: value })
    const values = { value: rounded(value), position: rounded(position) }
    handle.ariaValueText = view.words("curve_place", "{value} at {position}", values)
  })
}

/** The end of a gesture: only here the value changes, since the host may save a graph in the middle of one. */
function finish(view, scales) {
  view.dragged = undefined
  view.scales = scales
  view.changed(scales)
}

function movedTo(scales, index, position, value) {
  return scales.values ? curve.changed(scales, index, value) : curve.moved(scales, index, position, value)
}

function addPoint(view, index = view.chosen) {
  const { points } = view.scales
  const widest = points.slice(1).reduce((best, [x], at) =>
    x - points[at][0] > points[best + 1][0] - points[best][0] ? at : best, 0)
  const left = index < 0 ? widest : Math.min(index, points.length - 2)
  insertAt(view, (points[left][0] + points[left + 1][0]) / 2)
}

function insertAt(view, position, value = curve.valueAt(view.scales, position)) {
  const { curve: longer, index } = curve.inserted(view.scales, position, value)
  finish(view, longer)
  view.handles[index]?.focus()
  return index
}

function removePoint(view, index = view.chosen) {
  const last = view.scales.points.length - 1
  const at = index < 0 ? last : Math.min(index, last)
  finish(view, curve.removed(view.scales, at))
  view.handles[Math.min(at, view.handles.length - 1)]?.focus()
}

// Pointer and keys

function listen(view) {
  const { area } = view
  on(area, "pointerdown", (event) => {
    if (event.button !== 0 || !view.scales) return
    event.stopPropagation() // or the node moves
    const radius = event.pointerType === "mouse" ? undefined : 20
    const index = pointAt(view, pointerAt(view, event), radius)
    if (index < 0 || !view.handles.length) return
    event.preventDefault()
    view.handles[index].focus({ preventScroll: true })
    view.dragged = index
    area.setPointerCapture(event.pointerId)
  })
  on(area, "pointermove", (event) => {
    if (view.dragged === undefined) return
    event.stopPropagation()
    view.scales = movedTo(view.scales, view.dragged, ...fromPixels(view, pointerAt(view, event)))
    draw(view)
  })
  on(area, "pointerup pointercancel", () => {
    if (view.dragged !== undefined) finish(view, view.scales)
  })
  on(area, "dblclick", (event) => {
    event.stopPropagation()
    if (!view.scales?.points) return
    const place = pointerAt(view, event)
    const index = pointAt(view, place)
    if (index >= 0) removePoint(view, index)
    else insertAt(view, ...fromPixels(view, place))
  })
}

function pressed(view, index, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return
  const [position, value] = placesOf(view)[index]
  const share = event.shiftKey ? 0.1 : 1
  const along = share * (view.frames > 1 ? 1 / (view.frames - 1) : 0.01)
  const move = (x, y) => finish(view, movedTo(view.scales, index, position + x, value + y))
  const isCurve = Boolean(view.scales.points)
  const actions = {
    ArrowUp: () => move(0, share * STEP),
    ArrowDown: () => move(0, -share * STEP),
    ArrowLeft: () => isCurve && move(-along, 0),
    ArrowRight: () => isCurve && move(along, 0),
    Insert: () => isCurve && addPoint(view, index),
    Delete: () => isCurve && removePoint(view, index),
    Home: () => view.handles[0].focus(),
    End: () => view.handles.at(-1).focus(),
  }
  if (!(event.key in actions)) return
  event.preventDefault()
  actions[event.key]()
}

// Drawing

function draw(view) {
  const { canvas, scales } = view
  const drawing = cleared(canvas)
  if (!drawing) return
  const { context, width, height } = drawing
  const colours = getComputedStyle(canvas)
  const colour = (name) => colours.getPropertyValue(name) || "gray"
  placeHandles(view)
  if (!scales) return
  context.lineWidth = 1
  context.strokeStyle = context.fillStyle = colour("--border-color")
  for (let frame = 0; frame < view.frames && view.frames <= 128; frame++)
    context.fillRect(toPixels(view, [view.frames > 1 ? frame / (view.frames - 1) : 0, 0])[0], height - 6, 1, 6)
  context.setLineDash([3, 3])
  strokeThrough(context, [[0, 1], [1, 1]].map((place) => toPixels(view, place))) // 1 is no guidance
  context.setLineDash([])
  context.globalAlpha = view.dimmed ? 0.5 : 1
  context.lineWidth = 2
  context.strokeStyle = colour("--primary-background")
  const last = Math.max(2, width - 2 * EDGE)
  const places = scales.values
    ? placesOf(view)
    : Array.from({ length: Math.ceil(last) + 1 }, (_, x) => [x / last, curve.valueAt(scales, x / last)])
  strokeThrough(context, places.map((place) => toPixels(view, place)))
  context.fillStyle = colour("--descrip-text")
  context.font = "10px system-ui, sans-serif"
  const [low, high] = rangeOf(view)
  context.fillText(String(rounded(high)).slice(0, 5), 2, 10)
  context.fillText(String(rounded(low)).slice(0, 5), 2, height - 2)
}

function strokeThrough(context, places) {
  context.beginPath()
  places.forEach(([x, y]) => context.lineTo(x, y))
  context.stroke()
}
