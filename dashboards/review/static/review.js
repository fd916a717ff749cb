"use strict";
// Decisions are sent one after the other; the server answers with what has changed, once it is on disk.
const grid = document.getElementById("grid");
const problem = document.getElementById("problem");
let sending = Promise.resolve();

async function send(action, fields) {
  const response = await fetch(`${grid.dataset.path}/${action}`, { method: "POST", body: new URLSearchParams(fields), headers: { "HX-Request": "true" } });
  const made = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!response.ok) throw new Error(made.body.textContent.trim());
  let card = null;
  for (const fresh of made.querySelectorAll("[id]")) {
    const old = document.getElementById(fresh.id);
    if (old === null) continue;
    const focused = old.contains(document.activeElement);
    old.replaceWith(fresh);
    if (focused) fresh.focus();
    if (fresh.matches(".card")) card = fresh;
  }
  return card;
}

function queue(action, fields, then = () => {}) {
  sending = sending.then(() => send(action, fields)).then((card) => { problem.hidden = true; then(card); }).catch((error) => {
    problem.textContent = `Not saved: ${error.message}`;
    problem.hidden = false;
  });
}

function decide(card, decision) {
  queue("decide", { place: card.dataset.place, decision });
  const next = card.nextElementSibling;
  if (next !== null) next.focus();
}

// To the card beside, or to the nearest one in the row above or below.
function neighbour(card, key) {
  if (key === "ArrowLeft") return card.previousElementSibling;
  if (key === "ArrowRight") return card.nextElementSibling;
  const cards = [...grid.querySelectorAll(".card")];
  const columns = cards.filter((other) => other.offsetTop === cards[0].offsetTop).length;
  return cards[cards.indexOf(card) + (key === "ArrowUp" ? -columns : columns)];
}

function undo() {
  queue("undo", {}, (card) => { if (card !== null) card.focus(); });
}

function toggleBoxes() {
  const bare = grid.classList.toggle("bare");
  document.getElementById("boxes").setAttribute("aria-pressed", String(!bare));
}

grid.addEventListener("click", (event) => {
  const button = event.target.closest("[data-decision]");
  if (button !== null) decide(button.closest(".card"), button.dataset.decision);
});
document.getElementById("undo").addEventListener("click", undo);
document.getElementById("boxes").addEventListener("click", toggleBoxes);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const card = event.target.closest(".card") || grid.querySelector(".card");
  const key = event.key.toLowerCase(); // as printed on the page, or with caps lock
  const decision = { k: "keep", d: "discard" }[key];
  if (decision && card) decide(card, decision);
  else if (event.key.startsWith("Arrow") && card) (card.contains(document.activeElement) ? neighbour(card, event.key) : card)?.focus();
  else if (key === "u") undo();
  else if (key === "b") toggleBoxes();
  else if (key === "n") document.getElementById("later")?.click();
  else return;
  event.preventDefault();
});
grid.querySelector(".card")?.focus();
