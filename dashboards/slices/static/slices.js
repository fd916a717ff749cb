"use strict";
// The browser of slices: links and filters exchange the content of the page, so that contrast and zoom stay.
// The view is in the address: filters and slice in its query, contrast and zoom behind #.
const at = (id) => document.getElementById(id);
let asked = 0;

async function show(address, keepHistory) {
  const mine = ++asked;
  try {
    const response = await fetch(address, { headers: { "HX-Request": "true" } });
    const made = new DOMParser().parseFromString(await response.text(), "text/html");
    if (mine !== asked) return; // another view was chosen meanwhile
    if (!response.ok) throw new Error(made.body.textContent.trim());
    const [focused, opened] = [document.activeElement?.id, at("open") !== null];
    const unfolded = opened && at("fold").open;
    at("browser").replaceWith(document.adoptNode(made.getElementById("browser")));
    history[keepHistory ? "replaceState" : "pushState"](null, "", address + location.hash);
    arrive(focused, unfolded);
    if (!opened && at("open")) scrollTo(0, 0);
  } catch (error) {
    if (mine !== asked) return;
    at("problem").textContent = error instanceof TypeError ? "The server does not answer. Is the command still running?" : error.message;
    at("problem").hidden = false;
  }
}

/** What a new content of the page needs; `focused` is the id of the element that had the focus. */
function arrive(focused, unfolded) {
  // On a phone an open slice comes first.
  at("fold").open = innerWidth > 700 || at("open") === null || unfolded;
  at("browser").classList.toggle("bare", bare);
  at("boxes")?.setAttribute("aria-pressed", String(!bare));
  viewer.attach(at("browser"));
  const card = at(`card-${lastOpen}`);
  if (focused && at(focused)) at(focused).focus({ preventScroll: true });
  else if (card) card.focus();
  const open = new URLSearchParams(location.search).get("slice");
  if (open !== null) lastOpen = open;
}

const OF_DETECTIONS = ["arm", "seed", "iou", "confidence"];

/** The address of the filters, without empty ones; a slice stays open while only what is drawn on it changes. */
function filtered(changed) {
  const chosen = [...new FormData(at("filters"))].filter(([, value]) => value !== "");
  const plain = new Set(["source=test", "show=lesions"]);
  const query = new URLSearchParams(chosen.filter(([name, value]) => !plain.has(`${name}=${value}`)));
  const open = new URLSearchParams(location.search).get("slice");
  if (open !== null && OF_DETECTIONS.includes(changed)) query.set("slice", open);
  return `${at("browser").dataset.path}${query.size ? `?${query}` : ""}`;
}

let bare = false;
let lastOpen = null;

function toggleBoxes() {
  bare = at("browser").classList.toggle("bare");
  at("boxes")?.setAttribute("aria-pressed", String(!bare));
}

// To the card beside, or to the one in the row above or below.
function neighbour(card, key) {
  const cards = [...document.querySelectorAll(".card")];
  if (!cards.includes(card)) return cards[0];
  const columns = cards.filter((other) => other.getBoundingClientRect().top === cards[0].getBoundingClientRect().top).length;
  return cards[cards.indexOf(card) + { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key]];
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("#browser a[href^='?']");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
    event.preventDefault();
    show(`${location.pathname}${link.getAttribute("href")}`);
  }
  if (event.target.closest("#boxes")) toggleBoxes();
});
document.addEventListener("change", (event) => {
  if (event.target.form?.id === "filters") show(filtered(event.target.name), true);
});
document.addEventListener("submit", (event) => {
  if (event.target.id === "filters") event.preventDefault(); // what Enter has changed is asked for already
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select")) return;
  const press = (id) => at(id)?.click();
  const key = event.key.toLowerCase(); // as printed on the page, or with caps lock
  if (event.key.startsWith("Arrow") && at("open")) {
    if (event.shiftKey || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    press(event.key === "ArrowLeft" ? "previous" : "next");
  } else if (event.key.startsWith("Arrow")) neighbour(document.activeElement, event.key)?.focus();
  else if (event.key === "Escape") press("back");
  else if (key === "b") toggleBoxes();
  else if (key === "n") press("later");
  else if (key === "p") press("earlier");
  else return;
  event.preventDefault();
});
addEventListener("popstate", () => show(location.pathname + location.search, true));

viewer.restore(location.hash.slice(1));
viewer.changed = () => {
  history.replaceState(null, "", location.pathname + location.search + (`${viewer}` === "0,1,1,0,0" ? "" : `#${viewer}`));
};
arrive(null, false);
