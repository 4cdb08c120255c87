/** The picture that a motion is drawn on: zoom, pan, and each gesture of pointer, touch or pen as points on it. */

import { within } from "../pure/numbers.js"
import { hitAt } from "../pure/shapes.js"
import { apart } from "../pure/simplify.js"
import { cleared, make, on } from "./elements.js"
import {
  COLOURS, paintArrow, paintLine, paintMotion, paintPicture, paintPlay, paintPoint, scaled,
} from "./motion_paint.js"

const [LEAST_ZOOM, MOST_ZOOM] = [0.25, 8]
const ROOM = 0.92 // of the stage, for the picture at 100 %
const SECONDS = 3
const GRAB = { mouse: 10, pen: 12, touch: 22 }

/**
 * A canvas that shows `state()`: {motion, selected, tool, width}. Gestures go to `acts`: the tool's (points, width),
 * polygon(corners), select(number), shift(hit, by, isOver).
 */
export function makePicture(frame, state, acts) {
  const canvas = make("canvas", { tabIndex: 0, className: "stage", role: "application" })
  const view = { canvas, frame, state, acts, zoom: 1, shift: [0, 0], pointers: new Map(), corners: [], space: false }
  new ResizeObserver(() => draw(view)).observe(canvas)
  on(canvas, "pointerdown", (event) => down(view, event))
  on(canvas, "pointermove", (event) => move(view, event))
  on(canvas, "pointerup pointercancel", (event) => up(view, event))
  on(canvas, "dblclick", () => closeCorners(view))
  on(canvas, "wheel", (event) => {
    event.preventDefault()
    zoomTo(view, view.zoom * 1.0015 ** -event.deltaY, at(view, event))
  })
  return {
    canvas,
    draw: () => draw(view),
    zoomBy: (factor) => zoomTo(view, view.zoom * factor),
    reset() {
      Object.assign(view, { zoom: 1, shift: [0, 0] })
      draw(view)
    },
    holdSpace: (held) => (view.space = held),
    closeCorners: () => closeCorners(view),
    dropCorners() {
      view.corners = []
      draw(view)
    },
    play: (ended) => play(view, ended),
  }
}

// Places: [x, y] on the canvas in its pixels, or in fractions of the picture

const at = ({ canvas }, event) => {
  const box = canvas.getBoundingClientRect()
  return [event.clientX - box.x, event.clientY - box.y]
}

/** Where the picture is on the canvas: x, y, width, height. */
function placeOf({ canvas, frame: { size }, zoom, shift }) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight]
  const scale = ROOM * zoom * Math.min(width / size[0], height / size[1])
  const [w, h] = [size[0] * scale, size[1] * scale]
  return [(width - w) / 2 + shift[0], (height - h) / 2 + shift[1], w, h]
}

function fraction(view, [x, y]) {
  const [left, top, width, height] = placeOf(view)
  return [(x - left) / width, (y - top) / height]
}

function zoomTo(view, zoom, centre = [view.canvas.clientWidth / 2, view.canvas.clientHeight / 2]) {
  const held = fraction(view, centre)
  view.zoom = within(LEAST_ZOOM, MOST_ZOOM, zoom)
  const [left, top, width, height] = placeOf(view)
  view.shift = [view.shift[0] + centre[0] - left - held[0] * width, view.shift[1] + centre[1] - top - held[1] * height]
  draw(view)
}

// Gestures

function down(view, event) {
  view.canvas.setPointerCapture(event.pointerId)
  view.canvas.focus({ preventScroll: true })
  const place = at(view, event)
  view.pointers.set(event.pointerId, place)
  if (view.pointers.size > 1) view.gesture = { kind: "pinch" }
  else if (view.space || event.button === 1) view.gesture = { kind: "view" }
  else if (event.button === 0) view.gesture = begun(view, fraction(view, place), event)
  draw(view)
}

function begun(view, point, event) {
  const { motion, selected, tool } = view.state()
  const radius = GRAB[event.pointerType] / placeOf(view)[2]
  const hit = hitAt(motion, point, radius, view.frame.size[0] / view.frame.size[1], selected)
  const grabs = hit?.part === "key" || hit?.part === "corner"
  if (tool === "select" || ((tool === "path" || tool === "polygon") && grabs && hit.number === selected)) {
    view.acts.select(hit ? hit.number : -1)
    return hit ? { kind: "shift", hit, start: point, last: point } : null
  }
  if (tool === "polygon") {
    const [first] = view.corners
    const closes = view.corners.length > 2 && apart(point, first) <= radius
    if (closes) closeCorners(view)
    else view.corners.push(point)
    return null
  }
  return { kind: tool, points: [point], pressures: pressureOf(event) }
}

const pressureOf = ({ pointerType, pressure }) => (pointerType === "pen" && pressure > 0 ? [pressure] : [])

function move(view, event) {
  const { pointers, gesture } = view
  if (!pointers.has(event.pointerId)) return
  const [place, last] = [at(view, event), pointers.get(event.pointerId)]
  if (gesture?.kind === "pinch" && pointers.size > 1) pinch(view, event.pointerId, place)
  pointers.set(event.pointerId, place)
  if (gesture?.kind === "view") view.shift = view.shift.map((shift, axis) => shift + place[axis] - last[axis])
  else if (gesture?.kind === "shift") {
    gesture.last = fraction(view, place)
    view.acts.shift(gesture.hit, byOf(gesture), false)
  } else if (gesture?.points) {
    const passed = event.getCoalescedEvents?.() ?? []
    for (const each of passed.length ? passed : [event]) gesture.points.push(fraction(view, at(view, each)))
    gesture.pressures.push(...pressureOf(event))
  }
  draw(view)
}

const byOf = ({ start, last }) => [last[0] - start[0], last[1] - start[1]]

function pinch(view, id, place) {
  const others = [...view.pointers].filter(([other]) => other !== id).map(([, other]) => other)
  const [other, last] = [others[0], view.pointers.get(id)]
  const far = (place) => apart(place, other) || 1
  const middle = [0, 1].map((axis) => (last[axis] + other[axis]) / 2)
  view.shift = view.shift.map((shift, axis) => shift + (place[axis] - last[axis]) / 2)
  zoomTo(view, (view.zoom * far(place)) / far(last), middle)
}

function up(view, event) {
  const { gesture } = view
  view.pointers.delete(event.pointerId)
  if (gesture?.kind === "pinch" && view.pointers.size) return
  view.gesture = null
  if (event.type === "pointercancel") view.acts.select(view.state().selected) // as if it had not begun
  else finish(view, gesture)
  draw(view)
}

function finish(view, gesture) {
  if (gesture?.kind === "shift") return view.acts.shift(gesture.hit, byOf(gesture), true)
  if (!gesture?.points) return
  const { kind, points } = gesture
  const length = apart(points[0], points.at(-1))
  const isClick = (kind === "path" && points.length < 3 && length < 0.005) || (kind === "camera" && length < 0.002)
  if (!isClick) view.acts[kind](points, widthOf(view, gesture))
}

/** The width of a stroke: the brush's, of a pen by its mean pressure. */
function widthOf(view, { pressures }) {
  const mean = pressures.length ? pressures.reduce((sum, pressure) => sum + pressure, 0) / pressures.length : 0.5
  return within(0.001, 1, 2 * mean * view.state().width)
}

function closeCorners(view) {
  const corners = view.corners.filter((corner, index, all) => !index || apart(corner, all[index - 1]) > 1e-3)
  view.corners = []
  if (corners.length > 2) view.acts.polygon(corners)
  draw(view)
}

// Drawing

function draw(view) {
  const { canvas, frame, gesture } = view
  const context = cleared(canvas)?.context
  if (!context) return
  const [x, y, w, h] = placeOf(view)
  context.translate(x, y)
  if (view.time !== undefined) return paintPlay(context, frame, view.state().motion, view.time, [w, h])
  paintPicture(context, frame, [w, h])
  const { motion, selected } = view.state()
  paintMotion(context, motion, selected, [w, h])
  const onCanvas = (points) => scaled(points, [w, h])
  const ends = gesture?.points && [gesture.points[0], gesture.points.at(-1)]
  if (gesture?.kind === "camera") paintArrow(context, onCanvas(ends), COLOURS.line)
  else if (gesture?.kind === "path") paintArrow(context, onCanvas(gesture.points), COLOURS.selected)
  else if (gesture?.points) {
    context.globalAlpha = 0.5
    const colour = { freeze: COLOURS.frozen, eraser: COLOURS.outline }[gesture.kind] ?? COLOURS.moved
    paintLine(context, onCanvas(gesture.points), colour, widthOf(view, gesture) * w)
    context.globalAlpha = 1
  }
  if (view.corners.length) paintLine(context, onCanvas(view.corners), COLOURS.selected, 2)
  for (const corner of onCanvas(view.corners)) paintPoint(context, corner)
}

/** Plays the motion once; gives a function that stops it. */
function play(view, ended) {
  const start = performance.now()
  const stop = () => {
    view.time = undefined
    draw(view)
    ended()
  }
  const next = (now) => {
    if (view.time === undefined || !view.canvas.isConnected) return
    view.time = within(0, 1, (now - start) / 1000 / SECONDS)
    draw(view)
    if (now - start > (SECONDS + 0.5) * 1000) stop()
    else requestAnimationFrame(next)
  }
  view.time = 0
  requestAnimationFrame(next)
  return stop
}
