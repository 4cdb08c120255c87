/** Why a run failed in our code; the host has it in a log alone. */

import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"

const FOLDER = import.meta.url.split("/").at(-2) // in our lines of a traceback
let told

function tell({ detail: { node_type: type, exception_message: said, traceback } }) {
  if (!traceback.join().includes(FOLDER)) return
  told = { severity: "error", summary: LiteGraph.registered_node_types[type].title, detail: said.trim() }
  app.extensionManager.toast.add(told)
}

api.addEventListener("execution_error", tell)
api.addEventListener("execution_start", () => told && app.extensionManager.toast.remove(told))

app.registerExtension({ name: "Stillmotion.Errors" })
