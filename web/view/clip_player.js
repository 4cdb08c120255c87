/** A player of one clip or two: scrub, step, speed, there and back, the seam of a loop, and ways to compare. */

import { within } from "../pure/numbers.js"
import { frameAt, roundOf, seamOf, shrinkOf } from "../pure/sheet.js"
import { drawPair, VIEWS } from "./draw_pair.js"
import { button, icon, make, offer, on, playButton, select, slider, wantsStill } from "./elements.js"
import { whileSeen } from "./while_seen.js"

const MOST_BYTES = 2 ** 26
const SPEEDS = [["0.25", "¼×"], ["0.5", "½×"], ["1", "1×"], ["2", "2×"]]
const ROUNDS = { loop: roundOf, "there and back": (frames) => roundOf(frames, true), seam: seamOf }
const SLOWER_AT_SEAM = 3

/** Makes a player in the page's words: its element, `load` for clips with the URLs of their frames, `close`. */
export function makeClipPlayer(words) {
  const named = (kind) => (name) => [name, words(`${kind}_${name}`, name)]
  const state = { clips: [], frame: 0, playing: false, view: "A", wipe: 0.5, order: "loop", speed: 1, from: 0 }
  let round = [0]
  let loading = 0

  const canvas = make("canvas", { role: "img" })
  const toggle = playButton(words, () => play(!state.playing))
  const back = button(icon("step-backward"), words("clip_back", "Frame back"), () => step(-1))
  const forth = button(icon("step-forward"), words("clip_on", "Frame on"), () => step(1))
  const scrub = slider(words("clip_frame", "Frame"), { min: 0, max: 0, step: 1, value: 0 }, halt)
  const place = make("span", { className: "place" }) // no output, which a screen reader would read at each frame
  const time = make("div", { className: "row" }, back, toggle.element, forth, scrub, place)

  const view = select(words("clip_view", "View"), [], "A", (name) => look({ view: name }))
  const share = { min: 0, max: 1, step: 0.01, value: state.wipe }
  const wipe = slider(words("clip_wipe", "Wipe"), share, (at) => look({ wipe: at }))
  const orders = Object.keys(ROUNDS).map(named("order"))
  const order = select(words("clip_order", "Order"), orders, "loop", (name) => turn({ order: name }))
  const speed = select(words("clip_speed", "Speed"), SPEEDS, "1", (times) => turn({ speed: Number(times) }))
  const saving = words("clip_save", "Save frame")
  const looks = make("div", { className: "row" }, view, wipe, order, speed, button(saving, saving, save))
  scrub.className = wipe.className = "grows"

  const problem = make("div", { className: "error", hidden: true, role: "status" })
  const element = make("div", { className: "stillmotion clip" }, canvas, problem, time, looks)
  // A drag here is the player's, not the graph's; wheel and middle button stay the graph's.
  on(element, "pointerdown dblclick", (event) => event.button !== 1 && event.stopPropagation())
  on(canvas, "pointerdown", (event) => slideWipe(event, canvas.setPointerCapture(event.pointerId)))
  on(canvas, "pointermove", (event) => canvas.hasPointerCapture(event.pointerId) && slideWipe(event))
  const stop = whileSeen(element, tick)

  function slideWipe(event) {
    if (state.view !== "wipe" || event.button > 0) return
    const box = canvas.getBoundingClientRect()
    const shown = Math.min(box.width, (box.height * canvas.width) / canvas.height)
    const at = (event.clientX - box.left - (box.width - shown) / 2) / shown
    wipe.value = within(0, 1, at)
    look({ wipe: wipe.valueAsNumber })
  }

  function fps() {
    return state.clips[0].fps * state.speed * (state.order === "seam" ? 1 / SLOWER_AT_SEAM : 1)
  }

  function length() {
    return Math.min(...state.clips.map(({ pictures }) => pictures.length))
  }

  function look(changes) {
    Object.assign(state, changes)
    wipe.hidden = state.view !== "wipe"
    draw()
  }

  /** Plays, or would, from the frame that is shown. */
  function turn(changes) {
    Object.assign(state, changes)
    if (!state.clips.length) return
    round = ROUNDS[state.order](length())
    state.from = performance.now() - (1000 * Math.max(0, round.indexOf(state.frame))) / fps()
  }

  function play(on) {
    toggle.show(on)
    turn({ playing: on })
  }

  function halt(frame) {
    state.frame = frame
    play(false)
    draw()
  }

  function step(by) {
    if (state.clips.length) halt((state.frame + by + length()) % length())
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
    const values = { number: state.frame + 1, count: length(), view: words(`view_${state.view}`, state.view) }
    canvas.ariaLabel = scrub.ariaValueText = words("clip_place", "Frame {number} of {count}, view {view}", values)
    wipe.ariaValueText = `${Math.round(100 * state.wipe)} %`
  }

  /** Offers the frame, as it was made, as a file: of clip B where B alone is seen, otherwise of A. */
  async function save() {
    if (!state.clips.length) return
    const clip = state.clips[state.view === "B" ? 1 : 0]
    const name = `frame_${clip.label}_${state.frame + 1}.png`
    const whole = await decode(clip.urls[state.frame]).catch(gone)
    if (!whole) return
    const full = make("canvas", { width: whole.width, height: whole.height })
    full.getContext("2d").drawImage(whole, 0, 0)
    whole.close()
    const url = URL.createObjectURL(await new Promise((done) => full.toBlob(done, "image/png")))
    make("a", { href: url, download: name }).click()
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
      if (mine === loading) gone()
    }
  }

  function gone() {
    problem.textContent = words("clip_gone", "The frames of this clip are gone; run the node again.")
    problem.hidden = false
  }

  function begin(clips) {
    problem.hidden = true
    const views = clips.length > 1 ? VIEWS : ["A"]
    const chosen = views.includes(state.view) && state.clips.length === clips.length ? state.view : views[0]
    offer(view, views.map(named("view")), chosen)
    view.hidden = clips.length < 2
    Object.assign(state, { clips, frame: 0 })
    scrub.max = length() - 1
    look({ view: chosen })
    play(!wantsStill())
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
