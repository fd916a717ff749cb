"use strict";
// Boxes around lesions, by pointer or keyboard, each with a confidence; sent as [[x0, y0, x1, y1, confidence], ...].
const answer = document.getElementById("answer");
const save = document.getElementById("save");
const element = document.querySelector(".viewer");
const stage = element.querySelector(".stage");
const list = document.getElementById("marks");
const size = Number(element.dataset.size);
const marks = [];
let cross = [size / 2, size / 2];
let corner = null;
viewer.draws = true;

function outline(parent, [x0, y0, x1, y1], kind) {
  const box = document.createElement("div");
  box.className = `box ${kind}`;
  const share = (value) => `${100 * value / size}%`;
  Object.assign(box.style, { left: share(x0), top: share(y0), width: share(x1 - x0), height: share(y1 - y0) });
  return parent.appendChild(box);
}

function ordered([ax, ay], [bx, by]) {
  const within = (value) => Math.min(Math.max(value, 0), size);
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)].map(within);
}

function add(box) {
  const rounded = box.map((value) => Math.round(value * 100) / 100);
  if (rounded[2] - rounded[0] >= 1 && rounded[3] - rounded[1] >= 1) marks.push({ box: rounded, confidence: 3 });
  draw();
}

// The number of a mark in the list, on its box.
function numbered(box, number) {
  const label = box.appendChild(document.createElement("span"));
  label.className = "number";
  label.textContent = number + 1;
}

// A line of the list; its box stands out while the line has the focus or the pointer.
function row(mark, number) {
  const item = document.createElement("li");
  const focus = (is) => () => stage.querySelectorAll(".mark")[number]?.classList.toggle("focused", is || item.contains(document.activeElement));
  for (const [event, is] of [["focusin", true], ["focusout", false], ["pointerenter", true], ["pointerleave", false]]) {
    item.addEventListener(event, focus(is));
  }
  const choice = document.createElement("select");
  choice.setAttribute("aria-label", `Confidence of mark ${number + 1}`);
  for (const [value, label] of ["a guess", "unsure", "fairly sure", "sure", "certain"].entries()) {
    choice.add(new Option(`${value + 1} ${label}`, value + 1, false, value + 1 === mark.confidence));
  }
  choice.addEventListener("change", () => { mark.confidence = Number(choice.value); keep(); });
  const remove = document.createElement("button");
  remove.type = "button";
  remove.textContent = "Remove";
  remove.addEventListener("click", () => { marks.splice(number, 1); draw(); });
  item.append(choice, " ", remove);
  return item;
}

function draw() {
  for (const old of stage.querySelectorAll(".box:not(.given), .cross")) old.remove();
  marks.forEach((mark, number) => numbered(outline(stage, mark.box, "mark"), number));
  if (corner !== null) outline(stage, ordered(corner, cross), "open");
  const sight = stage.appendChild(document.createElement("div"));
  sight.className = "cross";
  Object.assign(sight.style, { left: `${100 * cross[0] / size}%`, top: `${100 * cross[1] / size}%` });
  list.replaceChildren(...marks.map(row));
  document.getElementById("none").hidden = marks.length > 0;
  keep();
}

// What is sent.
function keep() {
  answer.elements.marks.value = JSON.stringify(marks.map((mark) => [...mark.box, mark.confidence]));
}

function pointed(event) {
  return viewer.place(element, event).map((share) => share * size);
}

element.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  event.preventDefault();
  element.setPointerCapture(event.pointerId);
  corner = cross = pointed(event);
});
element.addEventListener("pointermove", (event) => {
  if (corner === null || !element.hasPointerCapture(event.pointerId) || event.buttons !== 1) return;
  cross = pointed(event);
  draw();
});
element.addEventListener("pointerup", (event) => {
  if (event.button !== 0 || corner === null) return;
  const box = ordered(corner, cross);
  corner = null;
  add(box);
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.target.closest("button, select")) return;
  const last = marks.at(-1);
  if (MOVES[event.key]) {
    cross = cross.map((value, axis) => Math.min(Math.max(value + MOVES[event.key][axis], 0), size));
    draw();
  } else if (event.key === " ") {
    if (corner === null) corner = cross;
    else { const box = ordered(corner, cross); corner = null; add(box); }
    draw();
  } else if (event.key === "Backspace" || event.key === "Delete") {
    if (corner === null) marks.pop();
    corner = null;
    draw();
  } else if ("12345".includes(event.key) && last) {
    last.confidence = Number(event.key);
    draw();
  } else if (event.key === "Enter" && !event.repeat && !save.disabled) {
    answer.requestSubmit();
  } else return;
  event.preventDefault();
});
answer.addEventListener("submit", () => { save.disabled = true; });
for (const given of JSON.parse(element.dataset.marks || "[]")) outline(stage, given, "given");
draw();
