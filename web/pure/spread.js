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
    for (let again = true; again; ) {
      again = false
      for (const other of placed) {
        const [left, above, wide, high] = other.rectangle
        const beside = left >= x + width || x >= left + wide
        if (beside || above >= top + height || top >= above + high) continue
        if (!moving.has(id) && !moving.has(other.id)) continue
        top = above + high + GAP
        again = true
      }
    }
    if (top > y) {
      moved[id] = top - y
      moving.add(id)
    }
    placed.push({ id, rectangle: [x, top, width, height] })
  }
  return moved
}
