/** The settings in a clip that the command line wrote, and the graph that makes it. */

import { FIXED, OURS, fileOf } from "./convertible.js"

const MARK = '"stillmotion": "'
const LONGEST = 2 ** 20

/** Settings that are inputs of the same name. */
const PREPARED = ["width", "height", "fit", "fps", "motion_bucket_id", "noise_aug"]
const SAMPLED = ["steps", "sigma_max", "sigma_min", "rho", "min_guidance", "max_guidance"]
const OTHERS = ["checkpoint", "image", "num_frames", "seed", "sampler", "guidance", "ring"]

/** Values of settings without an input at which nothing is lost; of the first two it is any. */
const NEUTRAL = {
  stillmotion: undefined, checkpoint_sha256: undefined,
  churn: 0, feature_cache: 1, guidance_rescale: 0, temporal_sharpness: 1, frame_wise_decode: false,
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
  const { checkpoint, image, num_frames: frames, sampler, schedule, guidance } = settings
  const take = (...names) => Object.fromEntries(names.map((name) => [name, settings[name]]))
  const seed = { ...take("seed"), ...FIXED }
  const solver = typeof sampler === "string" ? { sampler: `stillmotion ${sampler}` } : {}
  const named = typeof schedule === "string" ? ["schedule"] : [] // a list of noise levels has no input
  const nodes = [
    [OURS.load, { checkpoint: fileOf(checkpoint) }],
    ["LoadImage", { image: fileOf(image) }],
    [OURS.prepare, { ...take(...PREPARED), frames, ...seed }, { clip_vision: [0, 1], vae: [0, 2], image: [1, 0] }],
    [
      OURS.sample,
      { ...take(...SAMPLED, ...named), ...seed, ...solver, ...guidanceOf(guidance) },
      { model: [0, 0], positive: [2, 0], negative: [2, 1], latent: [2, 2] },
    ],
    [OURS.decode, take("ring"), { latent: [3, 0], vae: [0, 2] }],
    ["CreateVideo", take("fps"), { images: [4, 0] }],
    ["SaveVideo", {}, { video: [5, 0] }],
  ].map(([type, values, inputs = {}]) => ({ type, values: given(values), inputs }))
  const used = [...PREPARED, ...SAMPLED, ...OTHERS, ...named]
  const left = Object.keys(given(settings)).filter((name) => {
    return !used.includes(name) && !(name in NEUTRAL && [undefined, settings[name]].includes(NEUTRAL[name]))
  })
  return { nodes, left }
}

/** The values that are there. */
function given(values) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== null))
}

function guidanceOf(guidance) {
  if (typeof guidance === "number") return { shape: "constant", max_guidance: guidance }
  if (Array.isArray(guidance)) return { shape: "list", scales: guidance.join(", ") }
  if (typeof guidance !== "string") return {}
  return guidance.includes(":") ? { shape: "list", scales: guidance } : { shape: guidance }
}
