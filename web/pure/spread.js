/** Room for nodes that have grown. */

const GAP = 20

/**
 * How far each node moves down so that none meets a node above it: rectangles [x, y, width, height], titles
 * included, keyed by id -> {id: distance}. Nodes that have not `grown` move only where one of these pushes them.
 */
export function pushes(rectangles, grown) {
  const order = Object.keys(rectangles).sort((a, b) => rectangles[a][1] - rectangles[b][1])
  const moved = {}
  const placed = []
  const moving = new Set(grown.map(String))
  for (const id of order) {
    const [x, y, width, height] = rectangles[id]
    let top = y
    const met = ({ other, left, above, right, bottom }) =>
      (moving.has(id) || moving.has(other)) && left < x + width && x < right && above < top + height && top < bottom
    for (let found = placed.find(met); found; found = placed.find(met)) top = found.bottom + GAP
    if (top > y) {
      moved[id] = top - y
      moving.add(id)
    }
    placed.push({ other: id, left: x, above: top, right: x + width, bottom: top + height })
  }
  return moved
}
