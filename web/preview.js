/** Moving preview: the pictures of a run loop in the node that samples, and in the subgraphs around it. */

import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"
import { pathOf, playerIn, widgetOf } from "./host/nodes.js"
import { words } from "./host/text.js"
import { within } from "./pure/numbers.js"
import { layoutOf } from "./pure/sheet.js"
import { MOVING, SIZE, USUAL_SIZE } from "./pure/settings.js"
import { makeSheetPlayer } from "./view/sheet_player.js"

const NAME = "moving_preview"
const LEAST_HEIGHT = 90
const MOST_ASPECT = 0.6 // of a preview in a node: a square clip leaves room beside it

/** Layouts of the pictures to come, by the execution id of their nodes. */
const expected = new Map()

const isOn = () => app.extensionManager.setting.get(MOVING) ?? true

const mostHeight = () => app.extensionManager.setting.get(SIZE) ?? USUAL_SIZE

function expect({ detail }) {
  const layout = layoutOf(detail)
  if (layout && isOn()) expected.set(String(detail.node), { ...layout, step: detail.step, steps: detail.steps })
}

/** Takes a picture that was announced; core shows none then, nor its own of a node in which ours loops. */
function take(event) {
  const { blob, nodeId, displayNodeId } = event.detail
  const layout = expected.get(String(nodeId))
  expected.delete(String(nodeId))
  const nodes = pathOf(displayNodeId ?? nodeId)
  const shows = nodes.some((node) => widgetOf(node, NAME))
  if (!isOn() || !nodes.length || !(layout || shows)) return
  event.stopImmediatePropagation()
  if (layout) show(blob, displayNodeId ?? nodeId, layout)
}

async function show(blob, id, layout) {
  const bitmaps = await Promise.all(pathOf(id).map(() => createImageBitmap(blob)))
  const label = words("preview_step", "Preview, step {step} of {steps}", layout)
  pathOf(id).forEach((node, index) => {
    if (bitmaps[index]) playerOf(node, bitmaps[index], layout).show(bitmaps[index], layout, label)
  })
}

/** The player in a node, as tall as the first clip needs. */
function playerOf(node, sheet, layout) {
  const aspect = sheet.height / layout.rows / (sheet.width / layout.columns)
  const wanted = () => Math.min(aspect, MOST_ASPECT) * (node.size[0] - 20) + 20
  const height = () => Math.round(within(LEAST_HEIGHT, mostHeight(), wanted()))
  return playerIn(node, NAME, () => makeSheetPlayer(words), { least: height, most: height })
}

/** Tells the server in the workflow, since it sends previews without a setting of the host's. */
function tellServer() {
  const extra = (app.rootGraph.extra ??= {})
  if (isOn()) delete extra.stillmotion
  else extra.stillmotion = { moving_preview: false }
}

// Before the page's own listeners, which are added at its start: this one may keep a picture from them.
api.addEventListener("stillmotion.preview", expect)
api.addEventListener("b_preview_with_metadata", take)
api.addEventListener("promptQueueing", tellServer)
api.addEventListener("execution_start", () => expected.clear())

app.registerExtension({ name: "Stillmotion.Preview" })
