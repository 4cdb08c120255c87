/** Lines with fewer points. */

import { within } from "./numbers.js"

/**
 * A line without the points that lie within a tolerance of it (Douglas & Peucker, 1973); its ends stay.
 * distance(point, start, end): of a point from the stretch between two others.
 */
export function simplified(points, tolerance, distance = distanceTo) {
  const kept = points.map((_, index) => index === 0 || index === points.length - 1)
  const stretches = [[0, points.length - 1]]
  while (stretches.length) {
    const [first, last] = stretches.pop()
    let [farthest, most] = [-1, tolerance]
    for (let index = first + 1; index < last; index++) {
      const off = distance(points[index], points[first], points[last])
      if (off > most) [farthest, most] = [index, off]
    }
    if (farthest < 0) continue
    kept[farthest] = true
    stretches.push([first, farthest], [farthest, last])
  }
  return points.filter((_, index) => kept[index])
}

/** How far two points are from each other. */
export const apart = ([x, y], [x0, y0]) => Math.hypot(x - x0, y - y0)

/** The distance of a point from a stretch between two. */
export function distanceTo([x, y], [x0, y0], [x1, y1]) {
  const length = (x1 - x0) ** 2 + (y1 - y0) ** 2
  const share = length ? within(0, 1, ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length) : 0
  return apart([x, y], [x0 + share * (x1 - x0), y0 + share * (y1 - y0)])
}
