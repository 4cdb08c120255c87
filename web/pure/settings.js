/** Names of the page's settings, and what holds where a page has none. */

export const MOVING = "Stillmotion.Preview.Moving"
export const SIZE = "Stillmotion.Preview.Size"
export const USUAL_SIZE = 240
