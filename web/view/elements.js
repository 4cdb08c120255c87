/** Elements of the page, made in a line. */

/** An element with properties, a role among them, and children. */
export function make(tag, { role, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties)
  if (role) element.setAttribute("role", role)
  element.append(...children)
  return element
}

/** A button with a sign, and its words for who hovers over it or hears it. */
export function button(sign, label, act) {
  const element = make("button", { type: "button", textContent: sign, title: label, ariaLabel: label })
  element.addEventListener("click", act)
  return element
}

/** A select of [value, words] pairs; `set` gets each value that a person chooses. */
export function select(options, value, set) {
  const element = make("select")
  offer(element, options)
  element.value = value
  element.addEventListener("change", () => set(element.value))
  return element
}

/** Has a select offer other [value, words] pairs. */
export function offer(element, options) {
  element.replaceChildren(...options.map(([value, textContent]) => make("option", { value, textContent })))
}

/** A cleared canvas in sharp pixels: its context and its size on the page; null while it has none. */
export function cleared(canvas) {
  const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, window.devicePixelRatio || 1]
  if (!width || !height) return null
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) })
  const context = canvas.getContext("2d")
  context.scale(ratio, ratio)
  return { context, width, height }
}
