/**
 * Scales over frames in words, as clips/curve.py reads them: a list, or the points of a curve.
 * A curve is {points: [[position, value], …], smooth}, a list is {values: [number, …]}.
 */

import { rounded, within } from "./numbers.js"
import { apart, simplified } from "./simplify.js"
import { Refusal } from "./words.js"

export const MOST_POINTS = 64
export const LOWEST = -100
export const HIGHEST = 100
const LEAST_GAP = 0.001
const LONGEST = 65536
const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i
const EXAMPLE = "0:1, 0.5:3, 1:1.5 smooth"
const FACTS = { example: EXAMPLE, longest: LONGEST, most: MOST_POINTS, lowest: LOWEST, highest: HIGHEST }

function refuse(key, english, values) {
  throw new Refusal(key, english, { ...FACTS, ...values })
}

/** A list or a curve of a text; throws a Refusal, a sentence without its subject, for another text. */
export function parse(text) {
  text = text.trim()
  const { length } = text
  if (length > LONGEST) refuse("curve_long", "has {length} characters; at most {longest} are read.", { length })
  return text.includes(":") ? parseCurve(text) : parseList(text)
}

function parseList(text) {
  const parts = text.split(/[,\n]/).map((part) => part.trim()).filter(Boolean)
  const values = parts.map((part) => (NUMBER.test(part) ? Number(part) : NaN))
  if (!values.length || !values.every(Number.isFinite))
    refuse(
      "curve_text",
      "is '{text}'; give a number for each frame, as in 1, 2.5, 3, or points of position and value, as in {example}.",
      { text },
    )
  return { values }
}

function parseCurve(text) {
  const word = text.match(/\s(linear|smooth)$/)
  const pairs = (word ? text.slice(0, word.index) : text).split(",")
  if (pairs.length < 2 || pairs.length > MOST_POINTS)
    refuse("curve_points", "has {count} points; a curve has 2 to {most}, as in {example}.", { count: pairs.length })
  const points = pairs.map((pair, index) => parsePoint(pair.trim(), index + 1))
  for (let index = 1; index < points.length; index++)
    if (points[index][0] <= points[index - 1][0])
      refuse(
        "curve_order",
        "has point {number} at {place}, and the one in front of it at {before}; give positions that rise.",
        { number: index + 1, place: points[index][0], before: points[index - 1][0] },
      )
  return { points, smooth: word?.[1] === "smooth" }
}

function parsePoint(pair, number) {
  const colon = pair.indexOf(":")
  const position = (colon < 0 ? pair : pair.slice(0, colon)).trim()
  const value = colon < 0 ? "" : pair.slice(colon + 1).trim()
  if (!NUMBER.test(position) || !NUMBER.test(value))
    refuse(
      "curve_pair",
      "has as point {number} '{pair}'; a point is a position and a value, as in {example}.",
      { number, pair },
    )
  if (!(Number(position) >= 0 && Number(position) <= 1))
    refuse("curve_position", "has point {number} at {position}; give a position from 0 to 1.", { number, position })
  if (!(Number(value) >= LOWEST && Number(value) <= HIGHEST))
    refuse("curve_value", "has {value} at point {number}; give a value from {lowest} to {highest}.", { number, value })
  return [Number(position), Number(value)]
}

/** The text of a curve or a list. */
export function print(scales) {
  if (scales.values) return scales.values.map(rounded).join(", ")
  const pairs = scales.points.map(([position, value]) => `${rounded(position)}:${rounded(value)}`)
  return pairs.join(", ") + (scales.smooth ? " smooth" : "")
}

/** The value of a curve at a position from 0 to 1; outside of its points it has their first or last one. */
export function valueAt({ points, smooth }, position) {
  const last = points.length - 1
  const x = within(points[0][0], points[last][0], position)
  let left = 0
  while (left < last - 1 && points[left + 1][0] <= x) left++
  const [start, low] = points[left]
  const [end, high] = points[left + 1]
  const share = (x - start) / (end - start)
  const line = low + share * (high - low)
  if (!smooth) return line
  const slope = (high - low) / (end - start)
  const bends = tangents(points)
  return (
    line +
    share * (1 - share) * (end - start) * ((1 - share) * (bends[left] - slope) - share * (bends[left + 1] - slope))
  )
}

/** Slopes of the monotone cubic (Fritsch & Butland, 1984) at its points. */
function tangents(points) {
  const widths = points.slice(1).map(([x], index) => x - points[index][0])
  const slopes = points.slice(1).map(([, y], index) => (y - points[index][1]) / widths[index])
  if (slopes.length === 1) return [slopes[0], slopes[0]]
  const inner = slopes.slice(1).map((leaving, index) => {
    const arriving = slopes[index]
    if (arriving * leaving <= 0) return 0
    const near = 2 * widths[index + 1] + widths[index]
    const far = widths[index + 1] + 2 * widths[index]
    return (near + far) / (near / arriving + far / leaving)
  })
  const last = slopes.length - 1
  const end = (at, next) => endTangent(widths[at], widths[next], slopes[at], slopes[next])
  return [end(0, 1), ...inner, end(last, last - 1)]
}

function endTangent(width, nextWidth, slope, nextSlope) {
  const tangent = ((2 * width + nextWidth) * slope - width * nextSlope) / (width + nextWidth)
  if (tangent * slope <= 0) return 0
  return slope * nextSlope <= 0 && Math.abs(tangent) > 3 * Math.abs(slope) ? 3 * slope : tangent
}

/** The points of a shape of samplers/guidance.py, whose edge of a trapezoid is that part of the frames. */
export function ofShape(shape, min, max, frames, edge) {
  const at = (frame) => (frames > 1 ? frame / (frames - 1) : 0)
  const up = Math.max(Math.floor(frames * edge) - 1, 1) // the frame at the end of the rise
  const shapes = {
    linear: [[0, min], [1, max]],
    triangle: [[0, min], [0.5, max], [1, min]],
    trapezoid: frames * edge >= 1 && [[0, min], [at(up), max], [at(frames - 1 - up), max], [1, min]],
  }
  return { points: shapes[shape] || [[0, max], [1, max]], smooth: false }
}

/** A curve of straight lines through a list, at most a tolerance away from each number. */
export function fit(values, tolerance) {
  if (values.length === 1) return { points: [[0, values[0]], [1, values[0]]], smooth: false }
  const places = values.map((value, frame) => [frame / (values.length - 1), value])
  for (let allowed = tolerance; ; allowed = 2 * allowed || 1e-6) {
    const points = simplified(places, allowed, heightOver)
    if (points.length <= MOST_POINTS) return { points, smooth: false }
  }
}

/** How far above or below the line between two others a place is. */
function heightOver([x, y], [start, low], [end, high]) {
  return Math.abs(y - (low + ((x - start) / (end - start)) * (high - low)))
}

/** The curve with a point at another place, between its neighbours and the limits. */
export function moved({ points, smooth }, index, position, value) {
  const lowest = index ? points[index - 1][0] + LEAST_GAP : 0
  const highest = index < points.length - 1 ? points[index + 1][0] - LEAST_GAP : 1
  const place = [rounded(within(lowest, highest, position)), bounded(value)]
  return { points: points.with(index, place), smooth }
}

/** The list with another number at a frame. */
export function changed({ values }, frame, value) {
  return { values: values.with(frame, bounded(value)) }
}

const bounded = (value) => rounded(within(LOWEST, HIGHEST, value))

/** The curve with one more point, and its index; the curve itself where there is no room. */
export function inserted({ points, smooth }, position, value) {
  const at = points.filter(([x]) => x <= position).length
  const free = points.every(([x]) => Math.abs(x - position) >= LEAST_GAP)
  if (!free || points.length >= MOST_POINTS) return { curve: { points, smooth }, index: Math.max(at - 1, 0) }
  const point = [rounded(position), bounded(value)]
  return { curve: { points: points.toSpliced(at, 0, point), smooth }, index: at }
}

/** The curve without a point; two always stay. */
export function removed({ points, smooth }, index) {
  return { points: points.length > 2 ? points.toSpliced(index, 1) : points, smooth }
}

/** Places of a curve's points or of a list's numbers, one a frame. */
export function placesOf(scales) {
  const last = scales.values ? scales.values.length - 1 : 0
  return scales.points ?? scales.values.map((value, frame) => [last ? frame / last : 0, value])
}

/** Values that a drawing has at its lower and upper edge. */
export function range(values) {
  const [low, high] = [Math.min(0, ...values), Math.max(1, ...values)]
  const room = (high - low) * 0.1
  return [Math.max(LOWEST, low - (low < 0 ? room : 0)), Math.min(HIGHEST, high + room)]
}

/** The index of the place nearest to one in pixels, at most a radius away; −1 for none. */
export function hit(places, place, radius) {
  let [nearest, distance] = [-1, radius]
  places.forEach((each, index) => {
    const away = apart(each, place)
    if (away <= distance) [nearest, distance] = [index, away]
  })
  return nearest
}
