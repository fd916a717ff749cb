// The page of a study: asks for its parts, draws them, and asks again while the study changes. The view is in the address.
import { armRows, armsTable, link, trialsTable } from "./tables.js";
import { curves, forest, format, parallel, say, scatter, signed } from "./plots.js";
import { all, ask, at, attempt, base, chosen, iou, keep, options, shown, sort, view, words } from "./view.js";

const [POLL_RUNNING_MS, POLL_MS] = [2000, 10000];
const controls = at("controls");

function runningRows() {
  return new Set((shown.trials?.trials ?? []).filter((trial) => trial.state === "running").map((trial) => trial.row));
}

function rows() {
  return armRows(shown.figures, shown.evidence, Number(iou()), base(), runningRows());
}

function drawArms() {
  shown.arms?.destroy();
  const before = chosen();
  const table = armsTable(at("arms-table"), rows(), all(), sort(), {
    sorted: (sorted) => keep("sort", sorted && `${sorted.column} ${sorted.dir}`),
    chosen: (names) => table.ready && choose(names),
  });
  table.on("tableBuilt", () => {
    filter();
    table.selectRow(before.filter((name) => table.getRow(name)));
    table.ready = true;
  });
  shown.arms = table;
}

function filter() {
  const words = (view.get("filter") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (row) => words.every((word) => `${row.name} ${Object.entries(row.settings).flat().join(" ")}`.toLowerCase().includes(word));
  if (words.length) shown.arms.setFilter(fits);
  else shown.arms.clearFilter();
}

function choose(names) {
  view.delete("arm");
  for (const name of names) view.append("arm", name);
  keep("", null);
  drawFront();
  drawCurves();
}

function toggle(name) {
  const row = shown.arms.getRow(name);
  if (row) row.toggleSelect();
}

function drawGains() {
  const made = rows().filter((row) => row.gain !== null);
  forest(at("gain-plot"), made.map((row) => ({
    name: row.name,
    value: row.gain,
    low: row.gainInterval[0],
    high: row.gainInterval[1],
    strong: row.p !== null && row.p < 0.05,
    words: `${signed(row.gain)}${row.gainInterval[0] === null ? "" : ` [${signed(row.gainInterval[0])}, ${signed(row.gainInterval[1])}]`}${row.p === null ? "" : `, p ${row.p < 0.001 ? "<0.001" : row.p.toFixed(3)}`}`,
  })), `gain in sensitivity over ${base()}, IoU ${iou()}`);
  at("sample").textContent = made[0]?.sample ? `Gains over ${base()}: ${made[0].sample}.` : "";
}

function drawFront() {
  const front = new Set(shown.front);
  const marked = (row) => front.has(row.name) || chosen().includes(row.name);
  const points = rows().filter((row) => row.sensitivity !== null).map((row) => ({
    name: row.name, x: row.fps, y: row.sensitivity, front: front.has(row.name),
    dx: marked(row) && row.fpsInterval?.[0] !== null ? row.fpsInterval : null,
    dy: marked(row) && row.sensitivityInterval?.[0] !== null ? row.sensitivityInterval : null,
    words: `sensitivity ${format(row.sensitivity)}, ${format(row.fps, 2)} FPs per slice on the test split${front.has(row.name) ? "; on the front of the validation split" : ""}`,
  }));
  scatter(at("front-plot"), points, { x: "false positives per slice, test", y: `sensitivity, test, IoU ${iou()}` }, toggle);
}

function drawCount(response) {
  const lines = [];
  const dots = [];
  Object.entries(response).forEach(([variant, one], i) => {
    if (one.arms.length) {
      const [x, y, low, high] = [0, 1, 2, 3].map((k) => [0, ...one.arms.map((point) => point[k])]);
      lines.push({ label: variant, x, y, low: low.includes(null) ? null : low, high, colour: i });
    }
    if (one.smooth.length) lines.push({ label: `${variant}, smooth of drawn cells`, x: one.smooth.map((p) => p[0]), y: one.smooth.map((p) => p[1]), low: one.smooth.map((p) => p[2]), high: one.smooth.map((p) => p[3]), colour: i + 4 });
    if (one.cells.length) dots.push({ x: one.cells.map((p) => p[0]), y: one.cells.map((p) => p[1]), colour: i + 4 });
  });
  curves(at("count-plot"), lines, { x: "synthetic slices", y: `gain over none, IoU ${iou()}` }, { dots, empty: "Needs the arm none and an arm with synthetic slices, both complete." });
}

function drawCurves() {
  return attempt(at("curves-plot"), async () => {
    const names = chosen();
    const asked = (shown.asked = Symbol("curves"));
    if (!names.length) return say(at("curves-plot"), "Choose up to 8 arms by the boxes of the table.");
    const query = new URLSearchParams([["iou", iou()], ...names.map((name) => ["arm", name])]);
    if (!at("curves-plot").plot) say(at("curves-plot"), "Computing …");
    const found = await ask("froc", query);
    if (shown.asked !== asked) return; // other arms were chosen meanwhile
    const lines = names.filter((name) => found[name]).map((name) => ({ label: name, x: found[name].fps_per_slice, y: found[name].sensitivity, low: found[name].low, high: found[name].high, dot: found[name].dot, colour: names.indexOf(name) }));
    curves(at("curves-plot"), lines, { x: "false positives per slice", y: `sensitivity, IoU ${iou()}` }, { stepped: true, yRange: [0, 1], height: 380, empty: "No chosen arm is complete yet." });
  });
}

function drawParallel() {
  const { better } = shown.figures.objective;
  const cells = shown.figures.rows.filter((row) => row.number !== null && row.objective !== null);
  for (const part of document.querySelectorAll("#parallel, #search, nav a[href='#search']")) part.hidden = !shown.figures.draws;
  if (!shown.figures.draws) return;
  if (cells.length < 2) return say(at("parallel-plot"), "Fewer than two drawn cells are complete.");
  const settings = [...new Set(cells.flatMap((row) => Object.keys(row.settings)))].filter((key) => new Set(cells.map((row) => row.settings[key])).size > 1 && cells.every((row) => row.settings[key] !== undefined));
  const axes = [...settings.map((key) => ({ name: key, values: cells.map((row) => row.settings[key]) })), { name: "objective", values: cells.map((row) => row.objective) }];
  const ranked = [...axes.at(-1).values].sort((a, b) => (better === "maximize" ? a - b : b - a));
  parallel(at("parallel-plot"), axes, axes.at(-1).values.map((value) => ranked.indexOf(value) / (ranked.length - 1)), cells.map((row) => row.name));
}

function drawHistories(found) {
  shown.histories = found;
  const lines = (name) => Object.entries(found).map(([label, one]) => ({ label, x: one.images, y: one[name] }));
  const empty = "No GAN is trained yet.";
  curves(at("distance-plot"), lines("gan/distance"), { x: "images shown", y: "score of real minus synthetic" }, { empty, height: 260 });
  curves(at("overfitting-plot"), lines("gan/overfitting"), { x: "images shown", y: "overfitting" }, { empty, height: 260 });
  linkGans();
}

/** Stage keys of the GANs, and their runs in MLflow. */
function linkGans() {
  const { runs, server } = shown.runs;
  const parts = Object.entries(shown.histories ?? {}).flatMap(([label, { key }]) => {
    const code = document.createElement("code");
    [code.textContent, code.title] = [key.slice(0, 8), key];
    return [`${label.replace(/ \w+$/, "")}: stage key `, code, ...(runs[key] ? [", MLflow run ", link({ run: runs[key], server })] : []), ". "];
  });
  at("gan-runs").replaceChildren(...parts);
}

function drawTrials() {
  const { runs, server } = shown.runs;
  const data = shown.trials.trials.map((trial) => ({ ...trial, run: runs[trial.key] ?? null, server }));
  if (shown.list) return shown.list.updateOrAddData(data);
  const forms = [...document.querySelectorAll("#running form:has(.selected)")];
  shown.list = trialsTable(at("trials-table"), data, shown.trials.objective, forms.length ? (names) => fill(forms, names) : null);
}

/** The forms of stop and retry send the selected trials. */
function fill(forms, names) {
  for (const form of forms) {
    form.querySelector(".selected").replaceChildren(...names.map((name) => {
      const input = document.createElement("input");
      [input.type, input.name, input.value] = ["hidden", "trial", name];
      return input;
    }));
    form.querySelector("button").disabled = !names.length;
  }
}

function drawProgress() {
  const { headline, reasons, damage } = shown.trials;
  const lines = [...headline, ...reasons, ...damage].map((sentence, i) => {
    const line = document.createElement("p");
    line.append(...words(sentence));
    line.classList.toggle("problem", i >= headline.length + reasons.length);
    return line;
  });
  const done = document.createElement("progress");
  done.className = "bar";
  done.max = shown.trials.trials.length;
  done.value = shown.trials.trials.filter((trial) => trial.state === "done").length;
  done.setAttribute("aria-label", "trials done");
  lines[0]?.prepend(done, " ");
  at("progress").replaceChildren(...lines);
}

async function follow() {
  shown.trials = await ask("trials");
  drawProgress();
  drawTrials();
}

async function poll() {
  const fine = await attempt(at("progress"), async () => {
    const before = JSON.stringify([...runningRows()]);
    await follow();
    if (shown.version !== shown.trials.version) {
      shown.version = shown.trials.version;
      load();
    } else if (shown.arms?.ready && before !== JSON.stringify([...runningRows()])) {
      shown.arms.updateData(rows().map(({ id, name, running }) => ({ id, name, running })));
    }
  });
  if (!fine) shown.version = null;
  if (!fine && !shown.evidence) at("verdict").textContent = "The study cannot be read:";
  setTimeout(poll, fine && shown.trials.launch === "alive" ? POLL_RUNNING_MS : POLL_MS);
}

/** Verdict and rows come first; tables, some of which take seconds, once the rest is drawn. */
async function load() {
  await draw();
  document.querySelectorAll(".tables").forEach((one) => htmx.trigger(one, "again"));
  await attempt(at("progress"), follow); // the parts have read more, and may have met damage
}

async function draw() {
  const fine = await attempt(at("arms-table"), async () => {
    shown.figures = await ask("figures");
    const ious = shown.figures.ious.map(String);
    if (!ious.includes(iou())) keep("iou", null);
    options(controls.elements.iou, ious, iou());
    const { mark } = shown.figures;
    for (const place of document.querySelectorAll("h2 .seeds")) place.textContent = mark && ` (${mark})`;
    drawArms();
    drawParallel();
  });
  if (!fine) return;
  await attempt(at("verdict"), judge);
  await Promise.all([
    plotsOfIou(),
    attempt(at("distance-plot"), async () => drawHistories(await ask("histories"))),
    attempt(at("runs-note"), async () => {
      shown.runs = await ask("runs");
      at("runs-note").replaceChildren(...words(shown.runs.note));
      drawTrials();
      linkGans();
    }),
  ]);
}

/** What depends on the base: verdict (of none), intervals and gains. */
async function judge() {
  shown.evidence = await ask("evidence", { base: base() });
  const given = shown.evidence.base;
  at("no-base").textContent = given === base() ? "" : `${base()} is no arm with figures, so the base is ${given}.`;
  if (given !== base()) keep("base", null);
  const [, first, rest] = shown.evidence.verdict.match(/^(.*?[a-z%)\]0-9]\.)(?= |$)(.*)$/s) ?? [null, shown.evidence.verdict, ""];
  const strong = document.createElement("strong");
  strong.textContent = first;
  at("verdict").replaceChildren(strong, ...words(rest));
  const notes = shown.evidence.header.map((sentence) => {
    const line = document.createElement("p");
    line.className = "note";
    line.append(...words(sentence));
    return line;
  });
  at("reading").replaceChildren(at("reading").querySelector("summary"), ...notes);
  const bases = shown.evidence.arms.length ? shown.evidence.arms : ["none"];
  options(controls.elements.base, bases, base());
  if (!chosen().length) for (const name of opening()) view.append("arm", name);
  drawArms();
  drawGains();
}

/** The base and the arm that gains most, until a person chooses. */
function opening() {
  const gains = Object.entries(shown.evidence.gains[`iou${Math.round(100 * iou())}`] ?? {});
  const best = gains.sort((a, b) => b[1].difference - a[1].difference)[0];
  return [...(shown.evidence.arms.includes(base()) ? [base()] : []), ...(best ? [best[0]] : [])];
}

function plotsOfIou() {
  return Promise.all([
    attempt(at("front-plot"), async () => {
      shown.front = await ask("pareto", { iou: iou() });
      drawFront();
    }),
    attempt(at("count-plot"), async () => {
      say(at("count-plot"), "Computing …");
      shown.response = await ask("response", { iou: iou() });
      drawCount(shown.response);
    }),
    drawCurves(),
  ]);
}

controls.addEventListener("submit", (event) => event.preventDefault());
controls.elements.iou.addEventListener("change", (event) => {
  keep("iou", event.target.value);
  drawArms();
  drawGains();
  plotsOfIou();
});
controls.elements.base.addEventListener("change", (event) => {
  keep("base", event.target.value === "none" ? null : event.target.value);
  attempt(at("verdict"), judge);
});
controls.elements.all.checked = all();
controls.elements.all.addEventListener("change", (event) => {
  keep("all", event.target.checked ? "1" : null);
  drawArms();
});
controls.elements.filter.value = view.get("filter") ?? "";
controls.elements.filter.addEventListener("input", (event) => {
  keep("filter", event.target.value);
  filter();
});

/** Plots have the width and the colours of the page. */
function redraw() {
  if (!shown.evidence) return;
  drawGains();
  drawFront();
  drawParallel();
  if (shown.response) drawCount(shown.response);
  drawCurves();
  if (shown.histories) drawHistories(shown.histories);
}
let waiting;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(redraw, 200);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

poll();
