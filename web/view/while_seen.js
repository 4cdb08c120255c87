/** Pictures that move only where someone sees them. */

/**
 * Calls `tick` once a frame of the screen while an element is in view; gives the function that ends it.
 * A hidden tab has no frames of the screen, and a collapsed node or one out of view is not seen.
 */
export function whileSeen(element, tick) {
  let request = 0
  const next = () => {
    request = requestAnimationFrame(next)
    tick()
  }
  const observer = new IntersectionObserver((entries) => {
    const seen = entries.at(-1).isIntersecting
    cancelAnimationFrame(request)
    request = seen ? requestAnimationFrame(next) : 0
  })
  observer.observe(element)
  return () => {
    observer.disconnect()
    cancelAnimationFrame(request)
  }
}
