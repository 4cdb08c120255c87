/** Elements of the page, made in a line. */

/** An element with properties, a role among them, and children. */
export function make(tag, { role, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties)
  if (role) element.setAttribute("role", role)
  element.append(...children)
  return element
}

/** Has `act` called with an element's events of some types, "pointerup pointercancel". */
export function on(element, types, act) {
  for (const type of types.split(" ")) element.addEventListener(type, act)
}

/** A button with a sign, and its words for who hovers over it or hears it. */
export function button(sign, label, act) {
  const element = make("button", { type: "button", title: label, ariaLabel: label }, sign)
  on(element, "click", act)
  return element
}

/** A sign of the page's own font: not every system has a letter for it. */
export const icon = (name) => make("i", { className: `pi pi-${name}` })

/** A button that plays and stops; `show(on)` has it offer the one or the other. */
export function playButton(words, act) {
  const element = button("", "", act)
  const show = (on) => {
    const label = on ? words("stop", "Stop") : words("play", "Play")
    Object.assign(element, { ariaLabel: label, title: label }).replaceChildren(icon(on ? "pause" : "play"))
  }
  show(false)
  return { element, show }
}

/** Whether a person wants nothing to move by itself. */
export const wantsStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches

/** A slider in a range {min, max, step, value}; `set` gets each number. */
export function slider(label, range, set) {
  const element = make("input", { type: "range", title: label, ariaLabel: label, ...range })
  on(element, "input", () => set(element.valueAsNumber))
  return element
}

/** A select of [value, words] pairs; `set` gets each value that a person chooses. */
export function select(label, options, value, set) {
  const element = make("select", { title: label, ariaLabel: label })
  offer(element, options, value)
  on(element, "change", () => set(element.value))
  return element
}

/** Has a select offer other [value, words] pairs. */
export function offer(element, options, value) {
  element.replaceChildren(...options.map(([each, textContent]) => make("option", { value: each, textContent })))
  element.value = value
}

/** A cleared canvas in sharp pixels: its context and its size on the page; null while it has none. */
export function cleared(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas
  if (!width || !height) return null
  const ratio = devicePixelRatio
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) })
  const context = canvas.getContext("2d")
  context.scale(ratio, ratio)
  return { context, width, height }
}
