/** Steps of the host's undo. It takes one at each mouse button that goes up; keys, touch and menus tell it here. */

import { app } from "../../../scripts/app.js"

const tracker = () => app.extensionManager?.workflow?.activeWorkflow?.changeTracker

/** Makes all changes since the last step one that Ctrl+Z takes back. */
export function endStep() {
  tracker()?.captureCanvasState?.()
}

/** Makes the changes of a function one step, with the sizes that Nodes 2.0 measures of new nodes a little later. */
export async function asOneStep(change) {
  const tracked = tracker()
  tracked?.beforeChange?.()
  try {
    change()
    for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame)
  } finally {
    tracked?.afterChange?.()
    endStep()
  }
}
