/**
 * The motion's JSON: what is read and what is refused, as clips/motion/tracks.py has it.
 * A motion is the JSON itself, with keys that mean nothing here left in it.
 */

import { Refusal } from "./words.js"

const MOST_BYTES = 262144
export const MOST_POINTS = 4096
export const MOVE = "move"
export const FREEZE = "freeze"
export const STROKE_WIDTH = 0.05 // parts of the picture's width, where none is given
export const DRAG_WIDTH = 0.1
const LONGEST_ID = 64
const REQUIRED = Symbol("required")

/** A motion in JSON text; throws a Refusal, one sentence with the entry, its value and what is accepted. */
export function parse(text) {
  const bytes = new TextEncoder().encode(text).length
  if (bytes > MOST_BYTES) refuse("the motion", `has ${bytes} bytes; at most ${MOST_BYTES} are read.`)
  let content
  try {
    content = JSON.parse(text)
  } catch (error) {
    refuse("the motion", `is ${shown(text)}, which is no JSON (${error.message}).`)
  }
  check(content)
  return content
}

/** Throws a Refusal for what is no motion. */
export function check(content) {
  readObject(content, "the motion", MOTION)
  const regions = content.regions ?? []
  const drags = content.drags ?? []
  regions.forEach((entry, index) => checkRegion(entry, `regions[${index}]`))
  drags.forEach((entry, index) => checkDrag(entry, `drags[${index}]`, index))
  const camera = content.camera ?? {}
  readObject(camera, "camera", CAMERA)
  const [zoom, roll] = [camera.zoom ?? 1, camera.roll ?? 0]
  if (camera.nearness != null && (zoom !== 1 || roll !== 0))
    refuse("camera:", `zoom is ${zoom} and roll ${roll}; with nearness they must be 1 and 0.`)
  const names = namesOf(content)
  for (const name of names)
    if (names.indexOf(name) !== names.lastIndexOf(name))
      refuse(`id '${name}'`, "is there twice; give each region and drag another one.")
  const values = { points: countOf(content), most: MOST_POINTS }
  if (values.points > MOST_POINTS)
    throw new Refusal("motion_points", "the motion has {points} points and keys; at most {most} are read.", values)
}

/** The names of all regions, then of all drags. */
function namesOf({ regions, drags }) {
  const of = (kind) => (entry, index) => entry.id ?? `${kind} ${index + 1}`
  return [...(regions ?? []).map(of("region")), ...(drags ?? []).map(of("drag"))]
}

/** Points and keys in all; a drag's disc counts as one. */
export function countOf({ regions, drags }) {
  const length = (list) => (list ?? []).length
  const sum = (list, of) => (list ?? []).reduce((total, entry) => total + of(entry), 0)
  const ofRegion = ({ polygon, path, strokes }) =>
    length(polygon) + length(path) + sum(strokes, ({ points }) => length(points))
  return sum(regions, ofRegion) + sum(drags, ({ path }) => length(path) + 1)
}

function checkRegion(entry, place) {
  const where = named(entry, place)
  readObject(entry, where, REGION)
  checkPath(entry.path ?? [], where)
  for (const [index, stroke] of (entry.strokes ?? []).entries())
    readObject(stroke, `${where}: strokes[${index}]`, STROKE)
  if (entry.kind === FREEZE && entry.path?.length)
    refuse(`${where}:`, `a frozen region has a path of ${entry.path.length} keys; it takes none.`)
  if (!entry.polygon?.length && entry.mask == null && !entry.strokes?.length)
    refuse(where, "has no area; give a polygon, a mask or strokes.")
}

function checkDrag(entry, place, index) {
  readObject(entry, named(entry, place), DRAG)
  const where = `${place} (${entry.id ?? `drag ${index + 1}`})`
  checkPath(entry.path, where)
  if (!entry.path.length) refuse(`${where}:`, "path is empty; give two keys or more.")
}

function checkPath(path, where) {
  path.forEach((key, index) => readObject(key, `${where}: path[${index}]`, KEY))
  if (path.length === 1) refuse(`${where}:`, "path has one key; give none, or two or more.")
  const times = path.map((key) => key.time).filter((time) => time != null)
  if (times.length && times.length < path.length)
    refuse(`${where}:`, `${times.length} of ${path.length} keys have a time; give one to all, or to none.`)
  if (times.some((time, index) => index && time <= times[index - 1]))
    refuse(`${where}:`, `the times are ${times.join(", ")}; each must be later than the one in front of it.`)
}

// Readers: (value, its name in words), throwing a Refusal for another value. What a person can draw too much of has
// words in every language; the rest says what is wrong with a text that a program wrote, as the server does.

function refuse(where, words) {
  throw new Refusal("", `${where} ${words}`, {})
}

function shown(value) {
  const text = typeof value === "string" ? `'${value}'` : JSON.stringify(value)
  return text.length <= 60 ? text : `${text.slice(0, 59)}…`
}

function readObject(value, where, fields) {
  if (value === null || typeof value !== "object" || Array.isArray(value))
    refuse(where, `is ${shown(value)}; give an object in braces.`)
  for (const [name, [read, byDefault]] of Object.entries(fields)) {
    const entry = value[name]
    if (entry != null) read(entry, `${where}: ${name}`)
    else if (byDefault === REQUIRED) refuse(where, `has no ${name}; give one.`)
  }
}

function named(entry, where) {
  const name = entry?.id
  return typeof name === "string" && name ? `${where} (${shown(name)})` : where
}

const isObject = () => {}

const number = (lowest, highest) => (value, where) => {
  if (typeof value !== "number" || !(value >= lowest && value <= highest))
    refuse(where, `is ${shown(value)}; give a number from ${lowest} to ${highest}.`)
}

const oneOf = (...accepted) => (value, where) => {
  if (!accepted.includes(value)) refuse(where, `is ${shown(value)}; ${accepted.join(" or ")}.`)
}

const text = (value, where) => {
  const length = typeof value === "string" ? [...value].length : 0
  if (length < 1 || length > LONGEST_ID) refuse(where, `is ${shown(value)}; give 1 to ${LONGEST_ID} characters.`)
}

const source = (value, where) => {
  const accepted = typeof value === "string" ? value !== "" : Number.isInteger(value) && value >= 0
  if (!accepted) refuse(where, `is ${shown(value)}; give a file's name, or a picture's number from 0.`)
}

const list = (most) => (value, where) => {
  if (!Array.isArray(value)) refuse(where, `is ${shown(value)}; give a list of at most ${most}.`)
  if (value.length <= most) return
  const values = { where: where.replace("the motion: ", ""), count: value.length, most }
  throw new Refusal("motion_many", "{where} has {count} entries; give a list of at most {most}.", values)
}

const point = (lowest, highest) => (value, where) => {
  if (!Array.isArray(value) || value.length !== 2) refuse(where, `is ${shown(value)}; give [x, y].`)
  value.forEach((part) => number(lowest, highest)(part, where))
}

const points = (fewest) => (value, where) => {
  list(MOST_POINTS)(value, where)
  if (value.length < fewest) refuse(where, `has ${value.length} points; give ${fewest} or more.`)
  value.forEach((entry, index) => point(-1, 2)(entry, `${where}[${index}]`))
}

const WIDTH = number(0.001, 1)
const KEY = {
  x: [number(-1, 2), REQUIRED],
  y: [number(-1, 2), REQUIRED],
  scale: [number(0.1, 10)],
  degrees: [number(-1080, 1080)],
  time: [number(0, 1)],
}
const STROKE = { points: [points(1), REQUIRED], width: [WIDTH], erase: [oneOf(true, false)] }
const REGION = {
  id: [text],
  kind: [oneOf(MOVE, FREEZE)],
  path: [list(MOST_POINTS)],
  polygon: [points(3)],
  mask: [source],
  strokes: [list(MOST_POINTS)],
}
const DRAG = { id: [text], width: [WIDTH], path: [list(MOST_POINTS), REQUIRED] }
const CAMERA = {
  pan: [point(-1, 1)],
  zoom: [number(0.25, 4)],
  roll: [number(-180, 180)],
  ease: [oneOf("linear", "smooth")],
  nearness: [source],
}
const MOTION = {
  version: [oneOf(1)],
  aspect: [number(0.1, 10)],
  regions: [list(32)],
  drags: [list(64)],
  camera: [isObject],
}
