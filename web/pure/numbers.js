/** Numbers as texts of ours have them, and within bounds. */

const DIGITS = 4

/** A number to 4 digits. */
export function rounded(number) {
  return Number(number.toFixed(DIGITS)) + 0 // no −0
}

/** The number from the lowest to the highest that is nearest to another one. */
export function within(lowest, highest, number) {
  return Math.max(lowest, Math.min(highest, number))
}
