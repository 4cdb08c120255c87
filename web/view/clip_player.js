/** A player of one clip or two: scrub, step, speed, there and back, the seam of a loop, and ways to compare. */

import { within } from "../pure/numbers.js"
import { frameAt, roundOf, seamOf, shrinkOf } from "../pure/sheet.js"
import { drawPair, VIEWS } from "./draw_pair.js"
import { button, make, offer, select } from "./elements.js"
import { whileSeen } from "./while_seen.js"

const MOST_BYTES = 2 ** 26
const SPEEDS = { "¼×": 0.25, "½×": 0.5, "1×": 1, "2×": 2 }
const ROUNDS = { loop: roundOf, "there and back": (frames) => roundOf(frames, true), seam: seamOf }
const SLOWER_AT_SEAM = 3

/** A button with a drawn sign, or with its words. */
function press(label, icon, act) {
  const element = button(icon ? "" : label, label, act)
  if (icon) element.dataset.icon = icon
  return element
}

function choice(label, options, change) {
  return Object.assign(select(options, options[0][0], change), { title: label, ariaLabel: label })
}

function slider(label, options, slide) {
  const input = make("input", { type: "range", className: "grows", ariaLabel: label, ...options })
  input.addEventListener("input", () => slide(Number(input.value)))
  return input
}

/** Makes a player in the page's words: its element, `load` for clips with the URLs of their frames, `close`. */
export function makeClipPlayer(words) {
  const named = (kind) => (name) => [name, words(`${kind}_${name}`, name)]
  const state = { clips: [], frame: 0, playing: false, view: "A", wipe: 0.5, round: "loop", speed: 1, from: 0 }
  let round = [0]
  let loading = 0

  const canvas = make("canvas", { role: "img" })
  const toggle = press(words("play", "Play"), "play", () => play(!state.playing))
  const scrub = slider(words("clip_frame", "Frame"), { min: 0, max: 0, step: 1, value: 0 }, (frame) => halt(frame))
  const place = make("output", { className: "place" })
  const view = choice(words("clip_view", "View"), [["A", "A"]], (name) => set({ view: name }))
  const share = { min: 0, max: 1, step: 0.01, value: 0.5 }
  const wipe = slider(words("clip_wipe", "Wipe"), share, (value) => set({ wipe: value }))
  const orders = Object.keys(ROUNDS).map(named("order"))
  const rounds = choice(words("clip_order", "Order"), orders, (name) => set({ round: name }))
  const paces = Object.keys(SPEEDS).map((name) => [name, name])
  const speeds = choice(words("clip_speed", "Speed"), paces, (name) => set({ speed: SPEEDS[name] }))
  speeds.value = "1×"
  const problem = make("div", { className: "error", hidden: true, role: "status" })
  const back = press(words("clip_back", "Frame back"), "back", () => halt(step(-1)))
  const forth = press(words("clip_on", "Frame on"), "forth", () => halt(step(1)))
  const time = make("div", { className: "row" }, back, toggle, forth, scrub, place)
  const keep = press(words("clip_save", "Save frame"), null, save)
  const look = make("div", { className: "row" }, view, wipe, rounds, speeds, keep)
  const element = make("div", { className: "stillmotion clip" }, canvas, problem, time, look)
  // A drag or a key here is the player's, not the graph's; wheel and middle button stay the graph's.
  for (const type of ["pointerdown", "keydown", "dblclick"]) {
    element.addEventListener(type, (event) => event.button !== 1 && !event.ctrlKey && event.stopPropagation())
  }
  canvas.addEventListener("pointerdown", (event) => slideWipe(event, canvas.setPointerCapture(event.pointerId)))
  canvas.addEventListener("pointermove", (event) => canvas.hasPointerCapture(event.pointerId) && slideWipe(event))
  const stop = whileSeen(element, tick)

  function slideWipe(event) {
    if (state.view !== "wipe" || event.button > 0) return
    const box = canvas.getBoundingClientRect()
    const shown = Math.min(box.width, (box.height * canvas.width) / canvas.height)
    const at = (event.clientX - box.left - (box.width - shown) / 2) / shown
    wipe.value = within(0, 1, at)
    set({ wipe: Number(wipe.value) })
  }

  function fps() {
    return state.clips[0].fps * state.speed * (state.round === "seam" ? 1 / SLOWER_AT_SEAM : 1)
  }

  function length() {
    return Math.min(...state.clips.map(({ pictures }) => pictures.length))
  }

  function set(changes) {
    Object.assign(state, changes, { from: performance.now() })
    if (state.clips.length) round = ROUNDS[state.round](length())
    wipe.hidden = state.view !== "wipe"
    draw()
  }

  function play(on) {
    toggle.dataset.icon = on ? "pause" : "play"
    const label = on ? words("stop", "Stop") : words("play", "Play")
    Object.assign(toggle, { ariaLabel: label, title: label })
    set({ playing: on })
  }

  function step(by) {
    const frames = state.clips.length ? length() : 1
    return (state.frame + by + frames) % frames
  }

  function halt(frame) {
    state.frame = frame
    play(false)
  }

  function tick() {
    if (!state.playing || !state.clips.length) return
    const blinks = state.view === "blink" ? Math.floor(performance.now() / 500) % 2 : 0
    const frame = frameAt((performance.now() - state.from) / 1000, fps(), round)
    if (frame === state.frame && blinks === state.blinks) return
    Object.assign(state, { frame, blinks })
    draw()
  }

  function draw() {
    if (!state.clips.length) return
    const pictures = state.clips.map((clip) => clip.pictures[state.frame])
    drawPair(canvas, pictures, state.view, state)
    canvas.dataset.frame = scrub.value = state.frame
    place.textContent = `${state.frame + 1} / ${length()}`
    const values = { number: state.frame + 1, count: length(), view: state.view }
    canvas.ariaLabel = words("clip_place", "Frame {number} of {count}, view {view}", values)
  }

  /** Offers the frame, as it was made, as a file: of clip B where B alone is seen, otherwise of A. */
  async function save() {
    if (!state.clips.length) return
    const clip = state.clips[state.view === "B" ? 1 : 0]
    const whole = await decode(clip.urls[state.frame])
    const full = make("canvas", { width: whole.width, height: whole.height })
    full.getContext("2d").drawImage(whole, 0, 0)
    whole.close()
    const url = URL.createObjectURL(await new Promise((done) => full.toBlob(done, "image/png")))
    make("a", { href: url, download: `frame_${clip.label}_${state.frame + 1}.png` }).click()
    setTimeout(() => URL.revokeObjectURL(url), 1000)
  }

  async function decode(url, size) {
    const answer = await fetch(url)
    if (!answer.ok) throw new Error(`${answer.status}`)
    return createImageBitmap(await answer.blob(), size)
  }

  async function pictures(clip, shrink) {
    const [width, height] = [clip.width, clip.height].map((side) => Math.max(1, Math.floor(side * shrink)))
    const size = { resizeWidth: width, resizeHeight: height, resizeQuality: "high" }
    return { ...clip, pictures: await Promise.all(clip.urls.map((url) => decode(url, size))) }
  }

  async function load(clips) {
    const mine = ++loading
    const shrink = shrinkOf(clips.map((clip) => ({ ...clip, frames: clip.urls.length })), MOST_BYTES)
    try {
      const loaded = await Promise.all(clips.map((clip) => pictures(clip, shrink)))
      if (mine !== loading) return release(loaded)
      release(state.clips)
      begin(loaded)
    } catch {
      problem.textContent = words("clip_gone", "The frames of this clip are gone; run the node again.")
      problem.hidden = mine !== loading
    }
  }

  function begin(clips) {
    problem.hidden = true
    const views = clips.length > 1 ? VIEWS : ["A"]
    offer(view, views.map(named("view")))
    view.hidden = clips.length < 2
    const chosen = views.includes(state.view) && state.clips.length === clips.length ? state.view : views[0]
    view.value = chosen
    state.clips = clips
    scrub.max = length() - 1
    Object.assign(state, { view: chosen, frame: 0 })
    play(!matchMedia("(prefers-reduced-motion: reduce)").matches)
  }

  function release(clips) {
    for (const clip of clips) for (const picture of clip.pictures) picture.close()
  }

  return {
    element,
    load,
    close() {
      loading++
      stop()
      release(state.clips)
      state.clips = []
    },
  }
}
