/** The motion of SVD Motion: a thumbnail in the node, and a button that opens the editor. The text stays the value. */

import { app } from "../../scripts/app.js"
import { openDialog } from "./host/dialog.js"
import { after, mount, onValue, pictureAt, setValue, widgetOf } from "./host/nodes.js"
import { loadWords, words } from "./host/text.js"
import { endStep } from "./host/undo.js"
import { print } from "./pure/edits.js"
import { parse } from "./pure/motion.js"
import { makeEditor } from "./view/motion_editor.js"
import { makeThumbnail } from "./view/motion_thumbnail.js"

app.registerExtension({
  name: "Stillmotion.Motion",
  setup: loadWords,
  nodeCreated(node) {
    const text = widgetOf(node, "motion")
    if (node.comfyClass === "StillmotionMotion" && text) addMotion(node, text)
  },
})

function addMotion(node, text) {
  text.hidden = true
  text.options.hidden = true
  const view = makeThumbnail(words("motion_edit", "Edit motion"), () => edit(node, text, redraw))
  let latest = 0
  const redraw = async () => {
    const turn = ++latest // of several pictures on their way the last one counts
    const frame = await frameOf(node)
    if (turn === latest) view.show(frame, ...read(text.value))
  }
  mount(node, "motion_picture", view.element, { least: () => 160, most: () => 260 })
  for (const name of ["motion", "width", "height", "fit"]) onValue(node, widgetOf(node, name), redraw)
  const soon = () => setTimeout(redraw) // the graph is not yet as it will be
  for (const event of ["onConnectionsChange", "onExecuted"]) after(node, event, soon)
  redraw()
}

/** The motion of a text, and what is wrong with it if anything. */
function read(text) {
  try {
    return [parse(text.trim() || "{}"), null]
  } catch (error) {
    return [{}, words(...error.said)]
  }
}

/** The picture that a node draws on, as it fits it to the clip. */
async function frameOf(node) {
  const [width, height, fit] = ["width", "height", "fit"].map((name) => widgetOf(node, name).value)
  const url = pictureAt(node, "image")
  const frame = { picture: null, fit, size: [width, height] }
  if (!url) return frame
  const picture = new Image()
  picture.src = url
  try {
    await picture.decode()
    return { ...frame, picture }
  } catch {
    return frame // a file that is gone
  }
}

async function edit(node, text, redraw) {
  const [motion, wrong] = read(text.value)
  if (wrong) {
    const { extensionManager } = app
    const message = words("motion_wrong", "The text is no motion. Draw a new one?")
    if (!(await extensionManager.dialog.confirm({ title: wrong, message }))) return
  }
  const frame = await frameOf(node)
  const editor = makeEditor(motion, frame, words)
  openDialog(words("motion_title", "Motion"), editor.element, words("done", "Done"), () => {
    if (editor.value() === motion) return
    setValue(text, print(editor.value(), frame.size[0] / frame.size[1]))
    endStep()
    redraw()
  })
  editor.element.querySelector("canvas").focus()
}
