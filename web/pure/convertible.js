/** What a conversion knows of other packs' nodes: the order of their widgets, and where each goes in ours. */

import { say } from "./words.js"

export const LOADER = "ImageOnlyCheckpointLoader"
export const CONDITIONING = "SVD_img2vid_Conditioning"
export const SAMPLER = "KSampler"
export const GUIDANCE = { VideoLinearCFGGuidance: "linear", VideoTriangleCFGGuidance: "triangle" }
export const DECODERS = ["VAEDecode", "VAEDecodeTiled"]
export const OLD = { loader: "SVDModelLoader", sampler: "SVDSampler", decoder: "SVDDecoder" }
export const WHOLE = ["SVDSimpleImg2Vid", "SVDimg2vid"]

/** Our nodes that take their places. */
export const OURS = {
  load: "StillmotionLoadCheckpoint",
  prepare: "StillmotionImageToVideo",
  sample: "StillmotionKSampler",
  decode: "StillmotionDecode",
  animate: "StillmotionAnimate",
}

/** Of the noise on the picture: with another seed each time nothing would be cached. */
export const FIXED = { control_after_generate: "fixed" }

const CONTROLS = ["fixed", "increment", "decrement", "randomize"]
const SEEDED = ["seed", "control_after_generate"]

/** The names of a node's widgets, in the order in which a workflow has their values. */
export const WIDGETS = {
  [LOADER]: ["ckpt_name"],
  [CONDITIONING]: ["width", "height", "video_frames", "motion_bucket_id", "fps", "augmentation_level"],
  [SAMPLER]: [...SEEDED, "steps", "cfg", "sampler_name", "scheduler", "denoise"],
  VideoLinearCFGGuidance: ["min_cfg"],
  VideoTriangleCFGGuidance: ["min_cfg"],
  [OLD.loader]: ["checkpoint", "num_frames", "num_steps", "device"],
  [OLD.sampler]: ["motion_bucket_id", "fps_id", "cond_aug", ...SEEDED, "device"],
  SVDSimpleImg2Vid: [
    "checkpoint", "num_frames", "num_steps", "motion_bucket_id", "fps_id", "cond_aug",
    ...SEEDED, "decoding_t", "device",
  ],
  SVDimg2vid: [
    "version", "num_frames", "num_steps", "fps_id", "motion_bucket_id", "cond_aug",
    ...SEEDED, "decoding_t", "lowvram_mode",
  ],
}

const IN_ONE = { frames: "num_frames", steps: "num_steps", motion: "motion_bucket_id" }

/** Names of inputs that another node has, by ours; all others are alike. */
export const RENAMED = {
  [LOADER]: { checkpoint: "ckpt_name" },
  [CONDITIONING]: { image: "init_image", frames: "video_frames", noise_aug: "augmentation_level" },
  [SAMPLER]: { latent: "latent_image", sampler: "sampler_name", schedule: "scheduler", max_guidance: "cfg" },
  VAEDecode: { latent: "samples" },
  VAEDecodeTiled: { latent: "samples" },
  [OLD.sampler]: { fps: "fps_id", noise_aug: "cond_aug" },
  [OLD.decoder]: { latent: "samples_z" },
  SVDSimpleImg2Vid: IN_ONE,
  SVDimg2vid: { checkpoint: "version", ...IN_ONE },
}

/** Schedulers of the host with SVD's noise levels, which ours give alike. */
export const SCHEDULERS = ["karras", "exponential"]

/** Samplers for which the host's KSampler leaves the last level but one out. */
export const SHORTENED = ["dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"]

/** Nodes between a loader and a sampler that change neither guidance nor noise levels. */
export const HARMLESS = [
  "LoraLoaderModelOnly", "FreeU", "FreeU_V2",
  ...["LoadLoRA", "FeatureCache", "TemporalAttention", "LowPass"].map((id) => `Stillmotion${id}`),
]

/** Nodes of another model that a loader of SVD's kind serves too, and why they stay. */
const NO_SVD = say("stays_other_model", "is no SVD model")
const ORBIT = "begins the orbit on the picture; SVD Orbit ends there: the template SV3D orbit has the nodes"
export const OTHERS = {
  SV3D_Conditioning: say("stays_orbit", ORBIT),
  StableZero123_Conditioning: NO_SVD,
  StableZero123_Conditioning_Batched: NO_SVD,
}

/** Names of packs that have svd in them and are of something else. */
export const UNRELATED = /svdq|svdint|nunchaku|^Stillmotion/i

/** The values of a node's widgets by their names. */
export function valuesOf(node) {
  const values = {}
  const listed = Array.isArray(node.widgets_values) ? [...node.widgets_values] : []
  for (const name of WIDGETS[node.type] ?? []) {
    if (name === "control_after_generate" && !CONTROLS.includes(listed[0])) continue
    if (listed.length) values[name] = listed.shift()
  }
  return values
}

/** Where a loader's file lies, for the page's dialog of missing models; undefined where nobody knows. */
export function modelsOf({ downloads }, node, path) {
  const name = fileOf(path)
  const url = downloads[name]
  return node.properties?.models ?? (url ? [{ name, url, directory: "checkpoints" }] : undefined)
}

/** The name of a file without its folders. */
export function fileOf(path) {
  return String(path).split(/[\\/]/).at(-1)
}

/** Whether a node is one that a conversion may begin with. */
export function isConvertible({ type }) {
  return [CONDITIONING, ...WHOLE, ...Object.values(OLD), ...Object.keys(GUIDANCE)].includes(type)
}
