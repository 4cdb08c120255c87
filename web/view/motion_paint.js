/** A motion drawn over its picture: areas, paths, and in the player the cut-outs on their way. */

import { FREEZE, STROKE_WIDTH } from "../pure/motion.js"
import { cameraOf, centreOf, entriesOf, fittedIn, poseAt } from "../pure/shapes.js"
import { apart } from "../pure/simplify.js"
import { make } from "./elements.js"

const POINT = 5
const STRIPES = 10

/** Colours over photos, of any theme: what is frozen is told by its hatching too. */
export const COLOURS = {
  moved: "#2f8bff",
  frozen: "#ffd23f",
  line: "#ffffff",
  selected: "#7fd1ff",
  outline: "#10314f",
}

function sheet(width, height) {
  return make("canvas", { width: Math.max(1, Math.round(width)), height: Math.max(1, Math.round(height)) })
}

/** Has nothing drawn outside of a frame, whose ground it fills, until `restore`. */
function begin(context, ground, [width, height]) {
  context.save()
  context.beginPath()
  context.rect(0, 0, width, height)
  context.clip()
  context.fillStyle = ground
  context.fillRect(0, 0, width, height)
}

/** The picture as fitted, or grey without one. */
export function paintPicture(context, { picture, fit, size }, [width, height]) {
  begin(context, picture ? "black" : "gray", [width, height]) // bars of "pad" are black
  if (picture) {
    const [x, y, w, h] = fittedIn(fit, [picture.naturalWidth, picture.naturalHeight], size)
    context.drawImage(picture, x * width, y * height, w * width, h * height)
  }
  context.restore()
}

/** The area of an entry, opaque on a sheet of its own. */
function areaOf({ polygon, strokes }, width, height) {
  const canvas = sheet(width, height)
  const context = canvas.getContext("2d")
  const through = (points) => points.forEach(([x, y]) => context.lineTo(x * width, y * height))
  if (polygon?.length) {
    context.beginPath()
    through(polygon)
    context.fill("evenodd")
  }
  Object.assign(context, { lineCap: "round", lineJoin: "round" })
  for (const { points, width: diameter, erase } of strokes ?? []) {
    context.globalCompositeOperation = erase ? "destination-out" : "source-over"
    context.lineWidth = (diameter ?? STROKE_WIDTH) * width
    context.beginPath()
    through(points.length > 1 ? points : [points[0], points[0]])
    context.stroke()
  }
  context.globalCompositeOperation = "source-in"
  return [canvas, context]
}

/** A pattern of stripes over a faint ground. */
function hatching(context, colour) {
  const tile = sheet(STRIPES, STRIPES)
  const stripes = tile.getContext("2d")
  stripes.fillStyle = stripes.strokeStyle = colour
  stripes.globalAlpha = 0.3
  stripes.fillRect(0, 0, STRIPES, STRIPES)
  stripes.globalAlpha = 1
  stripes.lineWidth = 2
  for (const x of [-STRIPES, 0, STRIPES]) {
    stripes.moveTo(x, STRIPES)
    stripes.lineTo(x + STRIPES, 0)
  }
  stripes.stroke()
  return context.createPattern(tile, "repeat")
}

/** Points of the picture's fractions in pixels. */
export const scaled = (points, [width, height]) => points.map(([x, y]) => [x * width, y * height])

/** All entries: areas, hatched where frozen, then paths with arrow heads and their points. */
export function paintMotion(context, motion, selected, size) {
  const [width, height] = size
  const entries = entriesOf(motion)
  entries.forEach(({ kind, area }, number) => {
    const [canvas, own] = areaOf(area, width, height)
    own.fillStyle = kind === FREEZE ? hatching(own, COLOURS.frozen) : COLOURS.moved
    own.fillRect(0, 0, width, height)
    context.globalAlpha = kind === FREEZE ? 1 : number === selected ? 0.55 : 0.35
    context.drawImage(canvas, 0, 0)
    context.globalAlpha = 1
  })
  entries.forEach(({ entry }, number) => {
    const chosen = number === selected
    const points = scaled((entry.path ?? []).map(({ x, y }) => [x, y]), size)
    if (points.length) paintArrow(context, points, chosen ? COLOURS.selected : COLOURS.line)
    if (chosen) [...points, ...scaled(entry.polygon ?? [], size)].forEach((grip) => paintPoint(context, grip))
  })
}

export function paintPoint(context, [x, y]) {
  Object.assign(context, { fillStyle: COLOURS.selected, strokeStyle: COLOURS.outline, lineWidth: 1.5 })
  context.beginPath()
  context.arc(x, y, POINT, 0, 2 * Math.PI)
  context.fill()
  context.stroke()
}

export function paintLine(context, points, colour, width) {
  Object.assign(context, { strokeStyle: colour, lineWidth: width, lineCap: "round", lineJoin: "round" })
  context.beginPath()
  points.forEach(([x, y]) => context.lineTo(x, y))
  if (points.length === 1) context.lineTo(...points[0])
  context.stroke()
}

export function paintArrow(context, points, colour) {
  paintLine(context, points, "black", 5) // so that it is seen on any picture
  paintLine(context, points, colour, 2.5)
  const end = points.at(-1)
  const [x, y] = end
  const from = points.findLast((point) => apart(point, end) > 8) ?? points[0]
  const angle = Math.atan2(y - from[1], x - from[0])
  context.fillStyle = colour
  context.beginPath()
  for (const [length, turn] of [[4, 0], [-12, 0.5], [-12, -0.5]])
    context.lineTo(x + length * Math.cos(angle + turn), y + length * Math.sin(angle + turn))
  context.fill()
}

/** The motion at a time from 0 to 1: the camera's background, and the cut-outs where their paths have them. */
export function paintPlay(context, frame, motion, time, [width, height]) {
  const still = sheet(width, height)
  paintPicture(still.getContext("2d"), frame, [width, height])
  const { pan, zoom, roll, ease } = cameraOf(motion)
  const share = ease === "smooth" ? time ** 2 * (3 - 2 * time) : time
  begin(context, "black", [width, height])
  const camera = { x: share * pan[0], y: share * pan[1], scale: zoom ** share, degrees: share * roll }
  paintAt(context, still, [width, height], [0.5, 0.5], camera)
  for (const { area, entry } of entriesOf(motion)) {
    const [canvas, own] = areaOf(area, width, height)
    own.drawImage(still, 0, 0)
    const pose = poseAt(entry.path, time) // what is frozen has no path
    const centre = area.polygon || area.strokes ? centreOf(area) : [0.5, 0.5]
    paintAt(context, canvas, [width, height], centre, pose)
  }
  context.restore()
}

function paintAt(context, canvas, [width, height], [x, y], pose) {
  context.save()
  context.translate((x + pose.x) * width, (y + pose.y) * height)
  context.rotate((pose.degrees * Math.PI) / 180)
  context.scale(pose.scale, pose.scale)
  context.drawImage(canvas, -x * width, -y * height, width, height)
  context.restore()
}
