/** The settings in a clip that the command line wrote, and the graph that makes it. */

import { FIXED, OURS, fileOf } from "./convertible.js"

const MARK = '"stillmotion": "'
const LONGEST = 2 ** 20

/** Settings whose value is another input's in a graph; the others need a word where they are not neutral. */
const NEUTRAL = {
  ...{ churn: 0, feature_cache: 1, guidance_rescale: 0, temporal_sharpness: 1, frame_wise_decode: false },
  ...{ stillmotion: undefined, checkpoint_sha256: undefined },
}

/** The settings in the bytes of a file as text, one character a byte; null where there are none. */
export function settingsIn(text) {
  const mark = text.indexOf(MARK)
  for (let start = text.lastIndexOf('{"', mark); mark >= 0 && start >= 0; start = text.lastIndexOf('{"', start - 1)) {
    if (mark - start > LONGEST) return null
    const end = endOf(text, start)
    if (end > mark) return parsed(text.slice(start, end))
    if (start === 0) return null
  }
  return null
}

/** Where the braces of an object close; 0 where they don't. */
function endOf(text, start) {
  let [depth, quoted] = [0, false]
  for (let at = start; at < Math.min(text.length, start + LONGEST); at++) {
    const letter = text[at]
    if (quoted) {
      if (letter === "\\") at++
      else if (letter === '"') quoted = false
    } else if (letter === '"') quoted = true
    else if (letter === "{") depth++
    else if (letter === "}" && --depth === 0) return at + 1
  }
  return 0
}

function parsed(text) {
  try {
    const settings = JSON.parse(text)
    return typeof settings.checkpoint === "string" && typeof settings.image === "string" ? settings : null
  } catch {
    return null
  }
}

/** Nodes {type, values, inputs: {name: [number of a node, slot]}} that make a clip, and the settings left out. */
export function graphOfClip(settings) {
  const used = new Set(["checkpoint", "image"])
  const take = (names) => {
    const values = {}
    for (const [input, name] of Object.entries(names)) {
      used.add(name)
      if (settings[name] !== undefined && settings[name] !== null) values[input] = settings[name]
    }
    return values
  }
  const alike = (...names) => Object.fromEntries(names.map((name) => [name, name]))
  const picture = alike("width", "height", "fit", "fps", "motion_bucket_id", "noise_aug")
  const size = take({ ...picture, frames: "num_frames" })
  const seed = take(alike("seed"))
  const sampled = take(alike("steps", "sigma_max", "sigma_min", "rho", "min_guidance", "max_guidance"))
  const nodes = [
    { type: OURS.load, values: { checkpoint: fileOf(settings.checkpoint) }, inputs: {} },
    { type: "LoadImage", values: { image: fileOf(settings.image) }, inputs: {} },
    {
      type: OURS.prepare,
      values: { ...size, ...seed, ...FIXED },
      inputs: { clip_vision: [0, 1], vae: [0, 2], image: [1, 0] },
    },
    {
      type: OURS.sample,
      values: { ...seed, ...FIXED, ...sampled, ...solverOf(settings, used), ...guidanceOf(settings, used) },
      inputs: { model: [0, 0], positive: [2, 0], negative: [2, 1], latent: [2, 2] },
    },
    { type: OURS.decode, values: take(alike("ring")), inputs: { latent: [3, 0], vae: [0, 2] } },
    { type: "CreateVideo", values: take(alike("fps")), inputs: { images: [4, 0] } },
    { type: "SaveVideo", values: {}, inputs: { video: [5, 0] } },
  ]
  const left = Object.keys(settings).filter((name) => {
    if (used.has(name) || settings[name] === null) return false
    return !(name in NEUTRAL) || ![undefined, settings[name]].includes(NEUTRAL[name])
  })
  return { nodes, left }
}

function solverOf(settings, used) {
  const values = {}
  if (typeof settings.sampler === "string") values.sampler = `stillmotion ${settings.sampler}`
  used.add("sampler")
  if (typeof settings.schedule !== "string") return values
  used.add("schedule")
  return { ...values, schedule: settings.schedule }
}

function guidanceOf({ guidance }, used) {
  used.add("guidance")
  if (typeof guidance === "number") return { shape: "constant", max_guidance: guidance }
  if (Array.isArray(guidance)) return { shape: "list", scales: guidance.join(", ") }
  if (typeof guidance !== "string") return {}
  return guidance.includes(":") ? { shape: "list", scales: guidance } : { shape: guidance }
}
