/** The list beside the picture: each entry of a motion by its name and numbers, and the camera. */

import { endPatched, filmed, patched, without } from "../pure/edits.js"
import { DRAG_WIDTH, FREEZE, MOVE } from "../pure/motion.js"
import { within } from "../pure/numbers.js"
import { cameraOf, entriesOf } from "../pure/shapes.js"
import { button, make, on, select as selectOf } from "./elements.js"

/** A labelled number; `set` gets each other one that a person types. */
function numberInput(label, value, { min, max, step }, set) {
  const input = make("input", { type: "number", value, min, max, step })
  on(input, "change", () => {
    const typed = input.valueAsNumber
    if (Number.isFinite(typed)) set(within(min, max, typed))
  })
  return make("label", {}, label, input)
}

const choice = (label, value, options, set) => make("label", {}, label, selectOf(label, options, value, set))

/**
 * An element for the list, and a function that shows a motion. change(motion, selected) takes a changed motion,
 * and another selection if there is one, as does select(number).
 */
export function makeList(words, { change, select }) {
  const element = make("div", { className: "list" })
  const parts = () => [...element.querySelectorAll("input, select, button")]
  const show = (motion, selected) => {
    const focused = parts().indexOf(document.activeElement)
    const shown = { motion, selected, words, change, select }
    const entries = entriesOf(motion).map((item, number) => entryOf(item, number, shown))
    element.replaceChildren(...entries, cameraFields(shown))
    parts()[focused]?.focus()
  }
  return { element, show }
}

const kindsOf = (words) => ({ [MOVE]: words("motion_move", "moves"), [FREEZE]: words("motion_freeze", "frozen") })

/** The name of an entry and what it does, in words. */
export function spokenOf({ name, kind }, words) {
  return { name: words(...name), kind: kindsOf(words)[kind] ?? words("motion_drag", "dragged") }
}

function entryOf(item, number, shown) {
  const { list, kind, entry } = item
  const { motion, selected, words, change, select } = shown
  const chosen = number === selected
  const { name, kind: does } = spokenOf(item, words)
  const spoken = `${name}: ${does}`
  const entryButton = button(spoken, spoken, () => select(chosen ? -1 : number))
  Object.assign(entryButton, { className: "grows", ariaPressed: String(chosen) })
  const removing = words("motion_remove", "Remove {name}", { name })
  const remove = button("✕", removing, () => change(without(motion, number), -1))
  const head = make("div", { className: "row" }, entryButton, remove)
  if (!chosen) return make("div", { className: "entry" }, head)
  const patch = (fields) => change(patched(motion, number, fields))
  const fields = make("div", { className: "fields" })
  if (list === "regions") {
    const kinds = Object.entries(kindsOf(words))
    fields.append(choice(words("motion_kind", "kind"), kind, kinds, (value) => patch({ kind: value })))
  } else {
    const [width, range] = [entry.width ?? DRAG_WIDTH, { min: 0.001, max: 1, step: 0.01 }]
    fields.append(numberInput(words("motion_width", "width"), width, range, (next) => patch({ width: next })))
  }
  if (entry.path?.length) fields.append(...endOf(entry, number, shown))
  return make("div", { className: "entry" }, head, fields)
}

/** The last key of a path by numbers. */
function endOf({ path }, number, { motion, words, change }) {
  const end = path.at(-1)
  const rows = [
    ["x", words("motion_x", "to x"), end.x, { min: -1, max: 2, step: 0.01 }],
    ["y", words("motion_y", "to y"), end.y, { min: -1, max: 2, step: 0.01 }],
    ["scale", words("motion_scale", "size"), end.scale ?? 1, { min: 0.1, max: 10, step: 0.1 }],
    ["degrees", words("motion_degrees", "turn"), end.degrees ?? 0, { min: -1080, max: 1080, step: 5 }],
  ]
  return rows.map(([field, label, value, range]) =>
    numberInput(label, value, range, (typed) => change(endPatched(motion, number, { [field]: typed }))))
}

function cameraFields({ motion, words, change }) {
  const { pan, zoom, roll, ease } = cameraOf(motion)
  const film = (fields) => change(filmed(motion, fields))
  const pans = { min: -1, max: 1, step: 0.01 }
  const [zooms, rolls] = [{ min: 0.25, max: 4, step: 0.05 }, { min: -180, max: 180, step: 1 }]
  const eases = [["linear", words("ease_linear", "even")], ["smooth", words("ease_smooth", "smooth")]]
  return make(
    "fieldset",
    { className: "fields" },
    make("legend", { textContent: words("motion_camera", "camera, by the last frame") }),
    numberInput(words("motion_pan_x", "pan x"), pan[0], pans, (x) => film({ pan: [x, pan[1]] })),
    numberInput(words("motion_pan_y", "pan y"), pan[1], pans, (y) => film({ pan: [pan[0], y] })),
    numberInput(words("motion_zoom", "zoom"), zoom, zooms, (next) => film({ zoom: next })),
    numberInput(words("motion_roll", "roll"), roll, rolls, (next) => film({ roll: next })),
    choice(words("motion_ease", "speed"), ease, eases, (next) => film({ ease: next })),
  )
}
