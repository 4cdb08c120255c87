/** Which preset a node's values are. */

/** The name of the preset whose values all are a node's; undefined where none is. */
export function presetOf(presets, valueOf) {
  return Object.keys(presets).find((name) =>
    Object.entries(presets[name]).every(([input, value]) => valueOf(input) === value),
  )
}
