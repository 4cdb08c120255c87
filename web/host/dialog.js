/** What the page says to a person, and full-size editors. */

import { app } from "../../../scripts/app.js"
import { button, make, on } from "../view/elements.js"
import { linkStyle } from "./nodes.js"

/** Says something for a while; severity: info, success or warn. */
export function tell(severity, summary, detail) {
  app.extensionManager.toast.add({ severity, summary, detail, life: 10_000 })
}

/**
 * Opens an element in a dialog of the browser's own, which keeps keys and pointers from the graph below; `closed`
 * follows Escape, the button and the back key alike.
 */
export function openDialog(title, element, closeWords, closed) {
  linkStyle()
  const done = button(closeWords, closeWords, () => dialog.close())
  done.className = "done"
  const dialog = make("dialog", { className: "stillmotion editor", ariaLabel: title }, element, done)
  on(dialog, "keydown", (event) => {
    const typing = event.target.matches("input, select")
    if (event.key.toLowerCase() === "a" && (event.ctrlKey || event.metaKey) && !typing) event.preventDefault()
    event.stopPropagation()
  })
  on(dialog, "close", () => {
    dialog.remove()
    closed()
  })
  document.body.append(dialog)
  dialog.showModal()
}
