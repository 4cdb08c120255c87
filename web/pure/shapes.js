/** Shapes on the picture, in its fractions: what lies at a place, where a path is at a time. */

import { DRAG_WIDTH, MOVE, STROKE_WIDTH } from "./motion.js"
import { rounded, within } from "./numbers.js"
import { apart, distanceTo } from "./simplify.js"
import { say } from "./words.js"

const [LOWEST, HIGHEST] = [-1, 2]

const bounded = (number) => rounded(within(LOWEST, HIGHEST, number))

export const place = ([x, y]) => [bounded(x), bounded(y)]

/** Keys of a path through points, their times as the hand went: by the length of the way. */
export function keysOf(points) {
  const ways = points.slice(1).map((point, index) => apart(point, points[index]))
  const whole = ways.reduce((sum, way) => sum + way, 0)
  let [way, time] = [0, 0]
  const keys = [{ x: points[0][0], y: points[0][1], time: 0 }]
  points.slice(1).forEach(([x, y], index) => {
    way += ways[index]
    const left = points.length - 2 - index // each later key needs a time of its own
    time = Math.min(1 - left * 1e-4, Math.max(time + 1e-4, whole ? way / whole : 1))
    keys.push({ x, y, time: left ? rounded(time) : 1 })
  })
  return keys
}

/** Where a path is at a time from 0 to 1, as the first key's change: x, y, scale, degrees. */
export function poseAt(path, time) {
  if (!path?.length) return { x: 0, y: 0, scale: 1, degrees: 0 }
  const keys = path.map(({ x, y, scale, degrees, time }, index) => {
    return { x, y, scale: scale ?? 1, degrees: degrees ?? 0, time: time ?? index / (path.length - 1) }
  })
  let next = keys.findIndex((key) => key.time >= time)
  if (next < 0) next = keys.length - 1
  const [left, right] = [keys[Math.max(next - 1, 0)], keys[next]]
  const span = right.time - left.time
  const share = span > 0 ? within(0, 1, (time - left.time) / span) : 1
  const mix = (name) => left[name] + share * (right[name] - left[name])
  const scale = left.scale ** (1 - share) * right.scale ** share
  return {
    x: mix("x") - keys[0].x,
    y: mix("y") - keys[0].y,
    scale: scale / keys[0].scale,
    degrees: mix("degrees") - keys[0].degrees,
  }
}

/** Whether a place is inside an area: polygon, then strokes in order. aspect: width by height. */
export function isInside({ polygon, strokes }, [x, y], aspect) {
  let inside = false
  const corners = polygon ?? []
  corners.forEach(([x0, y0], index) => {
    const [x1, y1] = corners[(index + 1) % corners.length]
    if (y < y0 !== y < y1 && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0)) inside = !inside
  })
  for (const { points, width, erase } of strokes ?? []) {
    const scaled = points.map(([px, py]) => [px, py / aspect])
    const near = scaled.some((end, index) =>
      distanceTo([x, y / aspect], scaled[Math.max(index - 1, 0)], end) <= (width ?? STROKE_WIDTH) / 2)
    if (near) inside = !erase
  }
  return inside
}

/** The centre of an area's points, about which it turns in the player. */
export function centreOf({ polygon, strokes }) {
  const points = [...(polygon ?? []), ...(strokes ?? []).filter(({ erase }) => !erase).flatMap((s) => s.points)]
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]))
  return [xs, ys].map((values) => (Math.min(...values) + Math.max(...values)) / 2)
}

/** All numbers of a motion's camera. */
export function cameraOf({ camera }) {
  const { pan, zoom, roll, ease } = camera ?? {}
  return { pan: pan ?? [0, 0], zoom: zoom ?? 1, roll: roll ?? 0, ease: ease ?? "linear" }
}

/** All entries in their order: places in the JSON, names in words, areas; of a drag it is a disc. */
export function entriesOf({ regions, drags }) {
  const named = ({ id }, usual) => (id ? say("", id) : usual)
  const ofRegion = (entry, index) => {
    const name = named(entry, say("motion_region", "region {number}", { number: index + 1 }))
    return { list: "regions", index, entry, name, kind: entry.kind ?? MOVE, area: entry }
  }
  const ofDrag = (entry, index) => {
    const name = named(entry, say("motion_drag_name", "drag {number}", { number: index + 1 }))
    const [{ x, y }] = entry.path
    const disc = { strokes: [{ points: [[x, y]], width: entry.width ?? DRAG_WIDTH }] }
    return { list: "drags", index, entry, name, kind: "drag", area: disc }
  }
  return [...(regions ?? []).map(ofRegion), ...(drags ?? []).map(ofDrag)]
}

/**
 * What is at a place: {entry number, key or point number, kind of part}, or null. Points come before paths and
 * paths before areas, and the selected entry before others. radius: of a grab, in parts of the width.
 */
export function hitAt(motion, at, radius, aspect, selected = -1) {
  const entries = entriesOf(motion).map((item, number) => ({ ...item, number }))
  const order = entries.reverse().sort((a, b) => (b.number === selected) - (a.number === selected))
  const flat = ([x, y]) => [x, y / aspect]
  const near = (point) => apart(flat(point), flat(at)) <= radius
  for (const { number, entry } of order) {
    const key = (entry.path ?? []).findLastIndex(({ x, y }) => near([x, y]))
    if (key >= 0) return { number, part: "key", index: key }
    const corner = (entry.polygon ?? []).findIndex(near)
    if (corner >= 0) return { number, part: "corner", index: corner }
  }
  for (const { number, entry } of order) {
    const keys = (entry.path ?? []).map(({ x, y }) => flat([x, y]))
    if (keys.some((end, index) => index && distanceTo(flat(at), keys[index - 1], end) <= radius))
      return { number, part: "path" }
  }
  const found = order.find(({ area }) => isInside(area, at, aspect))
  return found ? { number: found.number, part: "area" } : null
}

/** Where the picture lies in a frame of fractions, as fitted: [x, y, width, height]. */
export function fittedIn(fit, [width, height], [frameWidth, frameHeight]) {
  if (fit === "stretch") return [0, 0, 1, 1]
  const ratios = [frameWidth / width, frameHeight / height]
  const scale = fit === "pad" ? Math.min(...ratios) : Math.max(...ratios)
  const [w, h] = [(width * scale) / frameWidth, (height * scale) / frameHeight]
  return [(1 - w) / 2, (1 - h) / 2, w, h]
}
