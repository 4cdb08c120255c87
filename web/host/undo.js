/** Steps of the host's undo. It takes one at each mouse button that goes up; keys, touch and menus tell it here. */

import { app } from "../../../scripts/app.js"

const tracker = () => app.extensionManager?.workflow?.activeWorkflow?.changeTracker

/** Makes all changes since the last step one that Ctrl+Z takes back. */
export function endStep() {
  tracker()?.captureCanvasState?.()
}

/** Makes the changes of a function one step. */
export function asOneStep(change) {
  tracker()?.beforeChange?.()
  try {
    change()
  } finally {
    tracker()?.afterChange?.()
    endStep()
  }
}
