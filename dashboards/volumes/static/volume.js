"use strict";
// The scan in NiiVue, with the boxes of one trial as a mask. Without WebGL, or without the volume, pictures stand in.
const at = (id) => document.getElementById(id);
const view = at("view");
const KINDS = ["found", "missed", "hit", "false"]; // numbered from 1 in the mask
const PLANES = { "all planes": 3, axial: 0, coronal: 1, sagittal: 2, "3D": 4 };
let viewer = null;

/** What is wrong, and the pictures in the scan's place. */
function give(problem) {
  at("problem").textContent = `${problem} The pictures below show slices of it.`;
  at("problem").hidden = false;
  if (view) view.hidden = true;
  if (at("pictures")) at("pictures").open = true;
}

async function fetched(address) {
  const response = await fetch(address, { headers: { Accept: "application/json" } }).catch(() => {
    throw new Error("The server does not answer. Is the command still running?");
  });
  if (!response.ok) throw new Error((await response.json()).problem ?? `The server answers with ${response.status}.`);
  return response;
}

/** One colour per kind, as the legend has them. */
function colours() {
  const style = getComputedStyle(document.documentElement);
  const codes = KINDS.map((kind) => style.getPropertyValue(`--${kind}`).trim());
  const channel = (k) => [0, ...codes.map((code) => parseInt(code.slice(1 + 2 * k, 3 + 2 * k), 16))];
  return { R: channel(0), G: channel(1), B: channel(2), A: [0, 255, 255, 255, 255], I: [0, 1, 2, 3, 4], labels: ["", ...KINDS] };
}

/** Fetch the mask that the page names, and lay it over the scan. */
async function mark() {
  const mask = await (await fetched(at("findings").dataset.marks)).arrayBuffer();
  if (viewer.volumes.length > 1) viewer.removeVolume(viewer.volumes[1]);
  await viewer.loadFromArrayBuffer(mask, "marks.nii.gz");
  viewer.volumes[1].setColormapLabel(colours());
  show();
}

function show() {
  viewer.setOpacity(1, at("frames").getAttribute("aria-pressed") === "true" ? 1 : 0);
}

/** To a place in world millimetres. */
function go(place) {
  viewer.scene.crosshairPos = viewer.mm2frac(place);
  viewer.createOnLocationChange();
  viewer.drawScene();
}

/** Along the axis from inferior to superior, whatever axis of the file that is: NiiVue's voxels are canonical. */
function move(slices) {
  viewer.moveCrosshairInVox(0, 0, slices);
}

function press(button, pressed) {
  button.setAttribute("aria-pressed", String(pressed));
}

function plane(button) {
  viewer.setSliceType(PLANES[button.dataset.plane]);
  for (const other of document.querySelectorAll("[data-plane]")) press(other, other === button);
}

function frames() {
  press(at("frames"), at("frames").getAttribute("aria-pressed") !== "true");
  show();
}

function grey() {
  const [scan] = viewer.volumes;
  const [low, high] = [Number(at("black").value), Number(at("white").value)].map((share) => scan.robust_min + share * (scan.robust_max - scan.robust_min));
  [scan.cal_min, scan.cal_max] = [low, Math.max(high, low + 0.01 * (scan.robust_max - scan.robust_min))];
  viewer.updateGLVolume();
}

/** The same volume with another trial's boxes: the view stays where it is. */
async function choose() {
  const address = `${location.pathname}?${new URLSearchParams(new FormData(at("trial")))}`;
  const page = new DOMParser().parseFromString(await (await fetched(address)).text(), "text/html");
  at("findings").replaceWith(page.getElementById("findings"));
  history.replaceState(null, "", address);
  if (viewer) await mark();
}

async function open() {
  if (!document.createElement("canvas").getContext("webgl2")) throw new Error("This browser has no WebGL 2, which draws the volume.");
  viewer = new niivue.Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: true, dragAndDropEnabled: false, isRadiologicalConvention: true, crosshairColor: [1, 1, 1, 0.5], crosshairWidth: 0.4, crosshairWidthUnit: "mm", isNearestInterpolation: true, loadingText: "", logLevel: "silent", viewModeHotKey: "", clipPlaneHotKey: "" });
  await viewer.attachToCanvas(at("volume"));
  viewer.onLocationChange = ({ mm }) => { at("place").textContent = `x ${Math.round(mm[0])}, y ${Math.round(mm[1])}, z ${Math.round(mm[2])} mm (RAS+)`; };
  await viewer.loadFromArrayBuffer(await (await fetched(view.dataset.scan)).arrayBuffer(), view.dataset.scan.split("/").at(-1));
  await mark();
  if (view.dataset.at) go(view.dataset.at.split(" ").map(Number));
  view.dataset.ready = "true";
}

at("trial").addEventListener("change", (event) => {
  if (event.target.name === "volume") at("trial").submit();
  else choose().catch((error) => give(error.message));
});
if (view) {
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (!button || !viewer) return;
    if (button.dataset.plane) plane(button);
    else if (button.dataset.move) move(Number(button.dataset.move));
    else if (button.dataset.place) go(button.dataset.place.split(" ").map(Number));
    else if (button.id === "frames") frames();
  });
  for (const range of [at("black"), at("white")]) range.addEventListener("input", () => viewer && grey());
  document.addEventListener("keydown", (event) => {
    if (!viewer || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
    if (event.key === "," || event.key === ".") move(event.key === "." ? 1 : -1);
    else if (event.key.toLowerCase() === "b") frames();
    else return;
    event.preventDefault();
  });
  open().catch((error) => give(error.message));
}
