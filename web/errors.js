/** Why a run failed in our code; the host has it in a log alone. */

import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"

const FOLDER = import.meta.url.split("/").at(-2) // in our tracebacks
let told

api.addEventListener("execution_error", ({ detail: { node_type: type, exception_message: detail, traceback } }) => {
  if (!traceback.join().includes(FOLDER)) return
  told = { severity: "error", summary: LiteGraph.registered_node_types[type].title, detail }
  app.extensionManager.toast.add(told)
})
api.addEventListener("execution_start", () => told && app.extensionManager.toast.remove(told))

app.registerExtension({ name: "Stillmotion.Errors" })
