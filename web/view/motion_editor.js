/** The full-size editor of a motion: tools, picture, list, undo. */

import { erased, filmed, outlined, painted, pathed, shifted, without } from "../pure/edits.js"
import { begun, did, redone, undone } from "../pure/history.js"
import { FREEZE, MOVE, check } from "../pure/motion.js"
import { rounded, within } from "../pure/numbers.js"
import { entriesOf } from "../pure/shapes.js"
import { button, make, on, playButton, slider } from "./elements.js"
import { makeList, spokenOf } from "./motion_list.js"
import { makePicture } from "./motion_picture.js"

const TOOLS = [
  ["select", "Select", "Select an entry, and shift it or its points"],
  ["brush", "Brush", "Paint what moves"],
  ["polygon", "Polygon", "Click the corners of what moves; the first one, Enter or a double click closes it"],
  ["eraser", "Eraser", "Erase from a region"],
  ["freeze", "Freeze", "Paint what is frozen"],
  ["path", "Arrow", "Draw the path of a region, or drag what lies elsewhere"],
  ["camera", "Camera", "Drag the way the picture goes"],
]
const NUDGE = 0.005

/** An element with the editor of a motion on a frame {picture, fit, size}; `value()` is the motion as it is. */
export function makeEditor(motion, frame, words) {
  const editor = { frame, words, history: begun(motion), draft: null, selected: -1, tool: "brush", width: 0.06 }
  editor.said = make("div", { role: "status" })
  editor.picture = makePicture(frame, () => ({ ...editor, motion: valueOf(editor) }), actsOf(editor))
  editor.picture.canvas.ariaLabel = words("motion_title", "Motion")
  editor.list = makeList(words, {
    change: (changed, selected) => change(editor, { motion: changed, selected }),
    select: (number) => select(editor, number),
  })
  const tools = toolsOf(editor)
  const side = make("div", { className: "side" }, editor.list.element, editor.said)
  const element = make("div", { className: "motion" }, tools, editor.picture.canvas, side)
  on(element, "keydown", (event) => pressed(editor, event))
  on(element, "keyup", (event) => event.key === " " && editor.picture.holdSpace(false))
  show(editor)
  return { element, value: () => editor.history.value }
}

const valueOf = ({ draft, history }) => draft ?? history.value

function toolsOf(editor) {
  const { words, picture } = editor
  editor.toolButtons = TOOLS.map(([id, name, english]) => {
    const tool = button(words(`tool_${id}`, name), words(`tool_${id}_use`, english), () => {
      editor.tool = id
      picture.dropCorners()
      show(editor)
    })
    tool.dataset.tool = id
    return tool
  })
  const widths = { min: 0.005, max: 0.3, step: 0.005, value: editor.width }
  const width = slider(words("brush_width", "Width of the brush"), widths, (value) => (editor.width = value))
  const play = playButton(words, () => {
    if (editor.stop) return editor.stop()
    play.show(true)
    editor.stop = picture.play(() => {
      editor.stop = null
      play.show(false)
    })
  })
  return make(
    "div",
    { className: "row tools", role: "toolbar" },
    ...editor.toolButtons,
    width,
    button("↶", words("undo", "Undo"), () => travel(editor, undone)),
    button("↷", words("redo", "Redo"), () => travel(editor, redone)),
    button("−", words("zoom_out", "Zoom out"), () => picture.zoomBy(0.8)),
    button("+", words("zoom_in", "Zoom in"), () => picture.zoomBy(1.25)),
    button("100 %", words("zoom_reset", "Whole picture"), picture.reset),
    play.element,
  )
}

function show(editor) {
  const { history, selected, words } = editor
  for (const each of editor.toolButtons) each.ariaPressed = String(each.dataset.tool === editor.tool)
  editor.list.show(history.value, selected)
  editor.picture.draw()
  const entries = entriesOf(history.value)
  const item = entries[selected]
  const values = { number: selected + 1, count: entries.length, ...(item && spokenOf(item, words)) }
  editor.said.className = ""
  editor.said.textContent = item
    ? words("motion_selected", "{name}: {number} of {count}, {kind}", values)
    : editor.toolButtons.find((each) => each.ariaPressed === "true").title
}

/** A changed motion becomes a step, if it is one that is read; the same entry stays selected unless told. */
function change(editor, { motion, selected = editor.selected }) {
  editor.draft = null
  try {
    check(motion)
  } catch (error) {
    show(editor)
    editor.said.className = "error"
    editor.said.textContent = editor.words(...error.said)
    return
  }
  editor.history = did(editor.history, motion)
  editor.selected = selected
  show(editor)
}

function select(editor, number) {
  Object.assign(editor, { selected: number, draft: null })
  show(editor)
}

function travel(editor, step) {
  editor.history = step(editor.history)
  editor.draft = null
  editor.selected = Math.min(editor.selected, entriesOf(editor.history.value).length - 1)
  show(editor)
}

function actsOf(editor) {
  const aspect = editor.frame.size[0] / editor.frame.size[1]
  const now = () => editor.history.value
  return {
    brush: (points, width) => change(editor, painted(now(), editor.selected, MOVE, points, width)),
    freeze: (points, width) => change(editor, painted(now(), editor.selected, FREEZE, points, width)),
    eraser: (points, width) => change(editor, erased(now(), editor.selected, points, width, aspect)),
    polygon: (corners) => change(editor, outlined(now(), corners)),
    path: (points) => change(editor, pathed(now(), editor.selected, points, aspect)),
    camera(points) {
      const pan = points.at(-1).map((to, axis) => rounded(within(-1, 1, to - points[0][axis])))
      change(editor, { motion: filmed(now(), { pan }) })
    },
    select: (number) => select(editor, number),
    shift(hit, by, isOver) {
      const motion = shifted(now(), hit, by)
      if (!isOver) editor.draft = motion
      else if (Math.hypot(...by) < 1e-4) select(editor, hit.number)
      else change(editor, { motion, selected: hit.number })
    },
  }
}

function pressed(editor, event) {
  const { picture } = editor
  if (event.target.type === "number") return
  const stepping = event.ctrlKey || event.metaKey
  const key = event.key.toLowerCase()
  if (stepping && (key === "z" || key === "y")) {
    event.preventDefault()
    return travel(editor, key === "y" || event.shiftKey ? redone : undone)
  }
  if (stepping || event.altKey) return
  const onPicture = event.target === picture.canvas
  const { value } = editor.history
  const all = { number: editor.selected, part: "all" }
  const nudge = (x, y) => () => onPicture && all.number >= 0 && change(editor, { motion: shifted(value, all, [x, y]) })
  const actions = {
    "+": () => picture.zoomBy(1.25),
    "-": () => picture.zoomBy(0.8),
    0: picture.reset,
    " ": () => onPicture && picture.holdSpace(true),
    enter: () => onPicture && picture.closeCorners(),
    delete: () => all.number >= 0 && change(editor, { motion: without(value, all.number), selected: -1 }),
    arrowleft: nudge(-NUDGE, 0),
    arrowright: nudge(NUDGE, 0),
    arrowup: nudge(0, -NUDGE),
    arrowdown: nudge(0, NUDGE),
  }
  if (!(key in actions)) return
  if (actions[key]() !== false) event.preventDefault()
}
