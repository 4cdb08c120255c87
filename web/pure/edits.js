/** What a person does to a motion: each function gives a new motion, and leaves keys that it does not know. */

import { DRAG_WIDTH, FREEZE, MOVE, STROKE_WIDTH } from "./motion.js"
import { rounded } from "./numbers.js"
import { entriesOf, hitAt, keysOf, place } from "./shapes.js"
import { simplified } from "./simplify.js"

const TOLERANCE = 1 / 2000 // of a line, in parts of the width

/** The motion with an entry of a list changed by a function. */
function changedAt(motion, { list, index }, change) {
  return { ...motion, [list]: motion[list].with(index, change(motion[list][index])) }
}

/** Both a motion and the number of the entry to select, which counts over both lists. */
const selecting = (motion, number) => ({ motion, selected: number })

/** The motion with an entry more, to be selected. */
function added(motion, list, entry) {
  const next = { ...motion, [list]: [...(motion[list] ?? []), entry] }
  const before = list === "drags" ? (motion.regions ?? []).length : 0
  return selecting(next, before + next[list].length - 1)
}

const line = (points) => simplified(points, TOLERANCE).map(place)

/** The motion with a stroke more in a region. */
function withStroke(motion, item, stroke) {
  return changedAt(motion, item, (entry) => ({ ...entry, strokes: [...(entry.strokes ?? []), stroke] }))
}

/** A stroke painted into the selected region if it is of that kind, else into a new one. */
export function painted(motion, selected, kind, points, width = STROKE_WIDTH) {
  const stroke = { points: line(points), width: rounded(width), erase: false }
  const item = entriesOf(motion)[selected]
  if (item?.list === "regions" && item.kind === kind) {
    return selecting(withStroke(motion, item, stroke), selected)
  }
  return added(motion, "regions", { kind, strokes: [stroke] })
}

/** A stroke erased from the selected region, or from the one where it begins. */
export function erased(motion, selected, points, width, aspect) {
  const entries = entriesOf(motion)
  const found = entries[selected]?.list === "regions" ? selected : hitAt(motion, points[0], 0, aspect)?.number
  if (entries[found]?.list !== "regions") return selecting(motion, selected)
  const stroke = { points: line(points), width: rounded(width), erase: true }
  return selecting(withStroke(motion, entries[found], stroke), found)
}

/** A new region of corners. */
export function outlined(motion, corners) {
  return added(motion, "regions", { kind: MOVE, polygon: corners.map(place) })
}

/** A path of the region that it begins in, or else a new drag. */
export function pathed(motion, selected, points, aspect) {
  const path = keysOf(line(points))
  const hit = hitAt(motion, points[0], 0, aspect, selected)
  const item = hit && entriesOf(motion)[hit.number]
  if (!item || item.kind === FREEZE) return added(motion, "drags", { width: DRAG_WIDTH, path })
  return selecting(changedAt(motion, item, (entry) => ({ ...entry, path })), hit.number)
}

/** The entry of a number without or with other fields. */
export function patched(motion, number, fields) {
  return changedAt(motion, entriesOf(motion)[number], (entry) => {
    const next = { ...entry, ...fields }
    if (next.kind === FREEZE) delete next.path
    return next
  })
}

/** The last key of an entry's path with other fields. */
export function endPatched(motion, number, fields) {
  const withEnd = (entry) => ({ ...entry, path: entry.path.with(-1, { ...entry.path.at(-1), ...fields }) })
  return changedAt(motion, entriesOf(motion)[number], withEnd)
}

export function without(motion, number) {
  const { list, index } = entriesOf(motion)[number]
  return { ...motion, [list]: motion[list].toSpliced(index, 1) }
}

/** The motion with a part of an entry, as `hitAt` gives it, somewhere else: dx and dy away. */
export function shifted(motion, { number, part, index }, [dx, dy]) {
  const by = ([x, y]) => place([x + dx, y + dy])
  const keyBy = (key) => {
    const [x, y] = by([key.x, key.y])
    return { ...key, x, y }
  }
  const only = (list, move) => list.with(index, move(list[index]))
  return changedAt(motion, entriesOf(motion)[number], (entry) => {
    if (part === "key") return { ...entry, path: only(entry.path, keyBy) }
    if (part === "corner") return { ...entry, polygon: only(entry.polygon, by) }
    const next = { ...entry }
    if (entry.path) next.path = entry.path.map(keyBy)
    if (entry.polygon) next.polygon = entry.polygon.map(by)
    if (entry.strokes) next.strokes = entry.strokes.map((stroke) => ({ ...stroke, points: stroke.points.map(by) }))
    return next
  })
}

export function filmed(motion, fields) {
  return { ...motion, camera: { ...motion.camera, ...fields } }
}

/** The text of a motion: its version, the shape that it was drawn on, and a time for each key. */
export function print(motion, aspect) {
  const timed = (entry) => {
    if (!entry.path?.length || entry.path[0].time != null) return entry
    const last = entry.path.length - 1
    return { ...entry, path: entry.path.map((key, index) => ({ ...key, time: rounded(index / last) })) }
  }
  const next = { ...motion, version: 1, aspect: rounded(aspect) }
  for (const list of ["regions", "drags"]) if (next[list]) next[list] = next[list].map(timed)
  return JSON.stringify(next)
}
