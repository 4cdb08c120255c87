/** Words of our own in the page's language: the branch `stillmotion` of locales/<language>/main.json, or English. */

import { app } from "../../../scripts/app.js"
import { api } from "../../../scripts/api.js"
import { filled } from "../pure/words.js"

let translated = {}
let loading = null

/** Loads the words of the page's language, once for all who ask. */
export function loadWords() {
  return (loading ??= load())
}

async function load() {
  try {
    const languages = await (await api.fetchApi("/i18n")).json()
    translated = languages[app.extensionManager.setting.get("Comfy.Locale")]?.stillmotion ?? {}
  } catch {} // all stays English
}

/** The words of a key, with values in the place of {names}. */
export function words(key, english, values = {}) {
  const found = translated[key]
  return filled(typeof found === "string" ? found : english, values)
}
