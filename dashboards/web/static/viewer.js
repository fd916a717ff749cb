"use strict";
// Window/level, zoom and pan of the images in `.viewer` elements; all viewers of a page share them.
// Buttons with `data-view` and keys do the same. A page that draws on images sets `viewer.draws = true`; one that
// exchanges its content calls `attach`; one that keeps what is set sets `changed`.
const viewer = {
  low: 0, high: 1, zoom: 1, x: 0, y: 0, draws: false, changed() {},

  // Serves the viewers and buttons within an element.
  attach(root) {
    for (const image of root.querySelectorAll(".stage img")) image.style.filter = "url(#window-level)";
    root.querySelectorAll(".viewer").forEach(listen);
    for (const button of root.querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => viewer.act(button.dataset.view));
    }
    this.apply();
  },

  apply() {
    const width = this.high - this.low;
    for (const tone of this.tones) {
      tone.setAttribute("slope", 1 / width);
      tone.setAttribute("intercept", -this.low / width);
    }
    const reach = 1 - 1 / this.zoom;
    this.x = Math.min(Math.max(this.x, 0), reach);
    this.y = Math.min(Math.max(this.y, 0), reach);
    for (const stage of document.querySelectorAll(".stage")) {
      stage.style.setProperty("--zoom", this.zoom); // of what is drawn on the image and keeps its size
      stage.style.transform = `scale(${this.zoom}) translate(${-100 * this.x}%, ${-100 * this.y}%)`;
    }
    this.changed();
  },

  // What is set, as text; and set it again from a text, unless that is none.
  toString() {
    return [this.low, this.high, this.zoom, this.x, this.y].map((value) => Number(value.toFixed(3))).join();
  },
  restore(text) {
    const kept = (text ?? "").split(",").map(Number);
    if (kept.length !== 5 || !kept.every(Number.isFinite) || kept[1] <= kept[0] || kept[2] < 1) return;
    [this.low, this.high, this.zoom, this.x, this.y] = kept;
    this.apply();
  },

  // Level and width of the window, as shares of the grey levels.
  window(level, width) {
    const whole = Math.min(Math.max(width, 0.02), 2);
    const centre = Math.min(Math.max(level, 0), 1);
    [this.low, this.high] = [centre - whole / 2, centre + whole / 2];
    this.apply();
  },

  // Zoom by a factor about a point, given as shares of the viewer.
  enlarge(factor, at = [0.5, 0.5]) {
    const before = this.zoom;
    this.zoom = Math.min(Math.max(before * factor, 1), 16);
    this.x += at[0] * (1 / before - 1 / this.zoom);
    this.y += at[1] * (1 / before - 1 / this.zoom);
    this.apply();
  },

  act(action) {
    const level = (this.low + this.high) / 2, width = this.high - this.low;
    if (action === "narrow") this.window(level, width / 1.15);
    else if (action === "widen") this.window(level, width * 1.15);
    else if (action === "raise") this.window(level - 0.04, width);
    else if (action === "lower") this.window(level + 0.04, width);
    else if (action === "enlarge") this.enlarge(1.25);
    else if (action === "shrink") this.enlarge(0.8);
    else { [this.low, this.high, this.zoom, this.x, this.y] = [0, 1, 1, 0, 0]; this.apply(); }
  },

  // Where a pointer is on the image, as shares of its sides.
  place(element, event) {
    const area = element.getBoundingClientRect();
    const at = [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
    return [at[0] / this.zoom + this.x, at[1] / this.zoom + this.y];
  },
};

const KEYS = { "]": "narrow", "[": "widen", ".": "raise", ",": "lower", "+": "enlarge", "=": "enlarge", "-": "shrink", "0": "reset" };
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function makeFilter() {
  const namespace = "http://www.w3.org/2000/svg";
  const make = (name, parent, attributes) => {
    const element = document.createElementNS(namespace, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return parent.appendChild(element);
  };
  const svg = make("svg", document.body, { width: 0, height: 0, "aria-hidden": "true" });
  const filter = make("filter", svg, { id: "window-level", "color-interpolation-filters": "sRGB" });
  const transfer = make("feComponentTransfer", filter, {});
  return ["R", "G", "B"].map((channel) => make(`feFunc${channel}`, transfer, { type: "linear", slope: 1, intercept: 0 }));
}

function listen(element) {
  let held = null;
  element.addEventListener("pointerdown", (event) => {
    if (viewer.draws && event.button === 0) return;
    held = [event.clientX, event.clientY, event.button];
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", (event) => {
    if (held === null) return;
    const side = element.clientWidth;
    const [right, down] = [(event.clientX - held[0]) / side, (event.clientY - held[1]) / side];
    if (held[2] === 2) {
      viewer.window((viewer.low + viewer.high) / 2 - down, (viewer.high - viewer.low) * (1 + right));
    } else {
      viewer.x -= right / viewer.zoom;
      viewer.y -= down / viewer.zoom;
      viewer.apply();
    }
    held = [event.clientX, event.clientY, held[2]];
  });
  for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, () => { held = null; });
  element.addEventListener("contextmenu", (event) => event.preventDefault());
  element.addEventListener("wheel", (event) => {
    event.preventDefault();
    const area = element.getBoundingClientRect();
    viewer.enlarge(event.deltaY < 0 ? 1.25 : 0.8, [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height]);
  }, { passive: false });
}

viewer.tones = makeFilter();
viewer.attach(document);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (KEYS[event.key]) viewer.act(KEYS[event.key]);
  else if (event.shiftKey && MOVES[event.key]) {
    viewer.x += 0.1 * MOVES[event.key][0] / viewer.zoom;
    viewer.y += 0.1 * MOVES[event.key][1] / viewer.zoom;
    viewer.apply();
  } else return;
  event.preventDefault();
});
