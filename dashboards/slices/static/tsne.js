"use strict";
// A t-SNE as an SVG: a point opens its slice. What is shown is in the address.
const SVG = "http://www.w3.org/2000/svg";
const at = (id) => document.getElementById(id);
const form = at("chosen");
const SIDE = 640;
/** By group, so that no one needs colours to distinguish them: circle, square, triangle, cross. */
const SHAPES = ["M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0", "M-3.5 -3.5h7v7h-7z", "M0 -4.5l4.5 8h-9z", "M-4 -4l8 8m0 -8l-8 8"];
let points = [];
let current = null;
let asked = 0;

function element(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const chosenSets = () => [...form.querySelectorAll("[name=set]:checked")].map((box) => box.value);

/** The server's answer; while it computes another t-SNE, it is asked again and again. */
async function answered(query, mine) {
  for (;;) {
    const response = await fetch(`${form.dataset.path}/points?${query}`, { headers: { Accept: "application/json" } });
    if (response.status !== 202 || mine !== asked) return response;
    at("note").textContent = "Waiting: the server computes another t-SNE …";
    await new Promise((resolve) => setTimeout(resolve, 1000 * Number(response.headers.get("Retry-After"))));
  }
}

async function load() {
  const mine = ++asked;
  const query = new URLSearchParams([["of", form.elements.of.value], ...chosenSets().map((name) => ["set", name])]);
  history.replaceState(null, "", `${location.pathname}?${query}`);
  at("note").textContent = "Computing … (a t-SNE of the paper's size takes up to a minute)";
  at("problem").hidden = true;
  try {
    const response = await answered(query, mine);
    const answer = await response.json();
    if (mine !== asked) return;
    if (!response.ok) throw new Error(answer.problem);
    draw(answer);
  } catch (error) {
    if (mine !== asked) return;
    at("note").textContent = "";
    at("map").replaceChildren();
    at("problem").textContent = error instanceof TypeError ? "The server does not answer. Is the command still running?" : error.message;
    at("problem").hidden = false;
  }
}

function draw({ note, groups }) {
  at("note").textContent = `${note}.`;
  const every = groups.flatMap((group) => group.points);
  const [left, right] = [Math.min(...every.map((p) => p[0])), Math.max(...every.map((p) => p[0]))];
  const [top, bottom] = [Math.min(...every.map((p) => p[1])), Math.max(...every.map((p) => p[1]))];
  const scale = (SIDE - 24) / (Math.max(right - left, bottom - top) || 1);
  const [atLeft, atTop] = [(SIDE - (right - left) * scale) / 2, (SIDE - (bottom - top) * scale) / 2];
  const svg = element("svg", { viewBox: `0 0 ${SIDE} ${SIDE}`, tabindex: 0, role: "application", "aria-label": "t-SNE; arrow keys move between points, Enter opens the slice" });
  points = groups.flatMap((group, i) => group.points.map(([x, y], k) => ({
    x: atLeft + (x - left) * scale, y: atTop + (y - top) * scale, group: i, picture: group.pictures[k],
    words: `${label(group.source)}, slice ${group.slices[k]}`,
    href: `${form.dataset.path}?${new URLSearchParams({ source: group.source, ...(group.source === "train" ? { show: "all" } : {}), slice: group.slices[k] })}`,
  })));
  // Groups alternate, so that none lies over the others.
  const order = [...points.keys()].sort((a, b) => (a * 7919) % points.length - (b * 7919) % points.length);
  for (const k of order) {
    const { x, y, group } = points[k];
    svg.append(element("path", { d: SHAPES[group], transform: `translate(${x} ${y})`, class: `point g${group}`, "data-k": k }));
  }
  svg.append(element("circle", { r: 9, class: "ring", cx: -20, cy: -20 }));
  svg.addEventListener("pointermove", (event) => point(event.target.dataset?.k));
  svg.addEventListener("click", (event) => event.target.dataset?.k && location.assign(points[event.target.dataset.k].href));
  svg.addEventListener("keydown", move);
  svg.addEventListener("focus", () => current === null && point(0));
  const legend = document.createElement("p");
  legend.id = "legend";
  groups.forEach((group, i) => {
    const sign = element("svg", { viewBox: "-6 -6 12 12", width: 16, height: 16, "aria-hidden": "true" }, element("path", { d: SHAPES[i], class: `point g${i}` }));
    const words = document.createElement("span");
    words.append(sign, ` ${label(group.source)} (${group.points.length})`);
    legend.append(words);
  });
  const shown = document.createElement("p");
  shown.id = "pointed";
  shown.setAttribute("aria-live", "polite");
  current = null;
  at("map").replaceChildren(legend, svg, shown);
}

const label = (source) => (source === "train" ? "real" : source);

/** Shows what a point is. */
function point(k) {
  if (k === undefined || Number(k) === current) return;
  current = Number(k);
  const { x, y, picture, words, href } = points[current];
  const ring = document.querySelector(".ring");
  ring.setAttribute("cx", x);
  ring.setAttribute("cy", y);
  const [image, link] = [document.createElement("img"), document.createElement("a")];
  [image.src, image.alt, image.width, image.height] = [picture, "", 128, 128];
  [link.href, link.textContent] = [href, words];
  at("pointed").replaceChildren(image, link);
}

function move(event) {
  const towards = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (event.key === "Enter" && current !== null) location.assign(points[current].href);
  if (!towards || event.shiftKey) return;
  event.preventDefault();
  const from = points[current ?? 0];
  let [nearest, least] = [current, Infinity];
  points.forEach(({ x, y }, k) => {
    const [dx, dy] = [x - from.x, y - from.y];
    const ahead = dx * towards[0] + dy * towards[1];
    const aside = Math.abs(dx * towards[1] + dy * towards[0]);
    if (ahead > 0 && ahead >= aside && ahead + 2 * aside < least) [nearest, least] = [k, ahead + 2 * aside];
  });
  point(nearest);
}

const view = new URLSearchParams(location.search);
const boxes = [...form.querySelectorAll("[name=set]")];
form.elements.of.value = view.get("of") === "slices" ? "slices" : "crops";
boxes.forEach((box, i) => { box.checked = view.has("of") ? view.getAll("set").includes(box.value) : i < 2; });
form.addEventListener("change", (event) => {
  if (chosenSets().length > Number(form.dataset.most)) event.target.checked = false;
  load();
});
form.addEventListener("submit", (event) => event.preventDefault());
load();
