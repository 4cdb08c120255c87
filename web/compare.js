/** SVD Compare Clips: the player in its node. */

import { app } from "../../scripts/app.js"
import { after, allGraphs, fileUrl, playerIn } from "./host/nodes.js"
import { words } from "./host/text.js"
import { makeClipPlayer } from "./view/clip_player.js"

const NODE = "StillmotionCompareClips"
const NAME = "clip_player"
const CONTROLS_HEIGHT = 112

/** Shows what a run of the node gave, or what the page remembers of one. */
function show(node, output) {
  const clips = output?.stillmotion_clip
  if (!clips?.length) return
  const shown = clips.map((clip) => ({ ...clip, urls: clip.frames.map(fileUrl) }))
  playerOf(node, shown[0]).load(shown)
}

function playerOf(node, clip) {
  const least = () => Math.round((clip.height / clip.width) * Math.min(node.size[0] - 20, 320)) + CONTROLS_HEIGHT
  return playerIn(node, NAME, () => makeClipPlayer(words), { least, most: () => undefined })
}

app.registerExtension({
  name: "Stillmotion.Compare",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return
    after(node, "onExecuted", (output) => show(node, output))
  },
  onNodeOutputsUpdated(outputs) {
    for (const node of allGraphs().flatMap(({ nodes }) => nodes)) {
      const locator = app.extensionManager.workflow.nodeToNodeLocatorId(node)
      if (node.comfyClass === NODE && outputs[locator]) show(node, outputs[locator])
    }
  },
})
