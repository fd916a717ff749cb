// Plots: curves with bands (uPlot), and forest, scatter and parallel coordinates as SVG, whose marks can be reached by keyboard.
const SVG = "http://www.w3.org/2000/svg";
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [4, 2], [12, 4], [1, 2], [6, 2, 1, 2]];

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const seriesColour = (i) => colour(`--s${i % 8}`);

export function format(value, digits = 3) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

export function signed(value, digits = 3) {
  return value === null || value === undefined ? "–" : (value < 0 ? "-" : "+") + Math.abs(value).toFixed(digits);
}

function element(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function text(x, y, content, attributes = {}) {
  const made = element("text", { x, y, ...attributes });
  made.textContent = content;
  return made;
}

function canvas(target, height, label) {
  const width = Math.max(target.clientWidth, 280);
  const svg = element("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
  target.replaceChildren(svg);
  return [svg, width];
}

export function say(target, words) {
  const note = document.createElement("p");
  note.className = "note";
  note.textContent = words;
  target.replaceChildren(note);
}

function ticks(low, high, count = 5) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw * 0.999);
  const values = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) values.push(i * step);
  return [values, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))];
}

function scale(low, high, from, to) {
  return (value) => from + ((value - low) / (high - low || 1)) * (to - from);
}

/** Rows: {name, value, low, high, strong, words}; low and high may be null. */
export function forest(target, rows, unit) {
  if (!rows.length) return say(target, "No arm can be compared with the base yet.");
  const narrow = target.clientWidth < 640;
  const line = narrow ? 62 : 30;
  const [svg, width] = canvas(target, rows.length * line + 44, "Forest plot of gains");
  const longest = Math.max(...rows.map((row) => row.name.length));
  const left = narrow ? 12 : Math.min(24 + 8.5 * longest, width * 0.35);
  const right = narrow ? width - 12 : width - 260;
  const ends = rows.flatMap((row) => [row.value, row.low ?? row.value, row.high ?? row.value, 0]);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const margin = (high - low || 0.1) * 0.06;
  const x = scale(low - margin, high + margin, left, right);
  const bottom = rows.length * line + 8;
  const [marks, digits] = ticks(low - margin, high + margin, narrow ? 4 : 7);
  for (const mark of marks) {
    svg.append(element("line", { x1: x(mark), x2: x(mark), y1: 4, y2: bottom, class: Math.abs(mark) < 1e-12 ? "zero" : "grid" }));
    svg.append(text(x(mark), bottom + 16, signed(mark, digits).replace(/^[+-](?=0(\.0*)?$)/, ""), { "text-anchor": "middle" }));
  }
  svg.append(text((left + right) / 2, bottom + 32, unit, { "text-anchor": "middle" }));
  rows.forEach((row, i) => {
    const y = i * line + (narrow ? 52 : line / 2 + 4);
    const group = element("g", { tabindex: 0, role: "img", class: "row", "aria-label": `${row.name}: ${row.words}` });
    group.append(element("rect", { x: 0, y: i * line + 4, width, height: line, class: "hover" }));
    if (row.low !== null) group.append(element("line", { x1: x(row.low), x2: x(row.high), y1: y, y2: y, class: "whisker" }));
    group.append(element("rect", { x: x(row.value) - 5, y: y - 5, width: 10, height: 10, class: row.strong ? "point strong" : "point" }));
    group.append(text(narrow ? 12 : left - 10, narrow ? y - 30 : y + 4, row.name, { "text-anchor": narrow ? "start" : "end", class: "name" }));
    group.append(text(narrow ? 12 : width - 250, narrow ? y - 13 : y + 4, row.words));
    svg.append(group);
  });
}

/** Points: {name, x, y, front, dx: [low, high], dy: [low, high], words}; choose(name) on a click or Enter. */
export function scatter(target, points, titles, choose) {
  if (!points.length) return say(target, "No arm is complete yet.");
  const height = 340;
  const [svg, width] = canvas(target, height, `${titles.y} against ${titles.x}`);
  const xs = points.flatMap((p) => [p.x, ...(p.dx ?? [])]);
  const ys = points.flatMap((p) => [p.y, ...(p.dy ?? [])]);
  const [top, bottom, left, right] = [14, height - 44, 52, width - 14];
  const xHigh = Math.max(...xs, 0.1) * 1.05; // detectors that find nothing have no FPs either
  const [yLow, yHigh] = [Math.max(0, Math.min(...ys) - 0.03), Math.min(1, Math.max(...ys) + 0.03)];
  const [x, y] = [scale(0, xHigh, left, right), scale(yLow, yHigh, bottom, top)];
  const [xMarks, xDigits] = ticks(0, xHigh);
  const [yMarks, yDigits] = ticks(yLow, yHigh);
  for (const mark of xMarks) {
    svg.append(element("line", { x1: x(mark), x2: x(mark), y1: top, y2: bottom, class: "grid" }));
    svg.append(text(x(mark), bottom + 16, mark.toFixed(xDigits), { "text-anchor": "middle" }));
  }
  for (const mark of yMarks) {
    svg.append(element("line", { x1: left, x2: right, y1: y(mark), y2: y(mark), class: "grid" }));
    svg.append(text(left - 6, y(mark) + 4, mark.toFixed(yDigits), { "text-anchor": "end" }));
  }
  svg.append(text((left + right) / 2, height - 8, titles.x, { "text-anchor": "middle" }));
  svg.append(text(14, (top + bottom) / 2, titles.y, { "text-anchor": "middle", transform: `rotate(-90 14 ${(top + bottom) / 2})` }));
  const words = document.createElement("p");
  words.className = "note pointed";
  words.textContent = "Point at a mark, or reach it with Tab; click or Enter adds it to the FROC plot.";
  words.setAttribute("aria-live", "polite");
  const front = points.filter((p) => p.front).sort((a, b) => a.x - b.x);
  svg.append(element("polyline", { points: front.map((p) => `${x(p.x)},${y(p.y)}`).join(" "), class: "front" }));
  const taken = points.map((p) => [x(p.x) - 6, y(p.y) - 6, x(p.x) + 6, y(p.y) + 6]);
  for (const point of [...points.filter((p) => !p.front), ...front]) {
    const group = element("g", { tabindex: point.front || points.length <= 60 ? 0 : -1, role: "button", class: "row", "aria-label": `${point.name}: ${point.words}` });
    if (point.dx) group.append(element("line", { x1: x(point.dx[0]), x2: x(point.dx[1]), y1: y(point.y), y2: y(point.y), class: "whisker thin" }));
    if (point.dy) group.append(element("line", { x1: x(point.x), x2: x(point.x), y1: y(point.dy[0]), y2: y(point.dy[1]), class: "whisker thin" }));
    group.append(element("circle", { cx: x(point.x), cy: y(point.y), r: point.front ? 6 : 3.5, class: point.front ? "point strong" : "point" }));
    for (const event of ["mouseenter", "focus"]) group.addEventListener(event, () => (words.textContent = `${point.name}: ${point.words}`));
    group.addEventListener("click", () => choose(point.name));
    group.addEventListener("keydown", (event) => event.key === "Enter" && choose(point.name));
    svg.append(group);
    if (point.front || points.length <= 12) label(svg, point.name, x(point.x), y(point.y), taken, [left, top, right, bottom]);
  }
  target.append(words);
}

/** A label beside a mark, where it covers neither marks nor other labels; none where there is no such place. */
function label(svg, name, x, y, taken, [left, top, right, bottom]) {
  const wide = 7 * name.length;
  for (const [from, base] of [[x + 9, y - 7], [x - 9 - wide, y - 7], [x + 9, y + 16], [x - 9 - wide, y + 16], [x - wide / 2, y - 14], [x - wide / 2, y + 24]]) {
    const box = [from, base - 11, from + wide, base + 3];
    const inside = box[0] >= left && box[2] <= right && box[1] >= top && box[3] <= bottom;
    if (inside && taken.every((other) => box[2] < other[0] || box[0] > other[2] || box[3] < other[1] || box[1] > other[3])) {
      taken.push(box);
      svg.append(text(from, base, name, { class: "label" }));
      return;
    }
  }
}

/** Axes: {name, values: text or number per line}; goodness: per line, 0 to 1; names: per line. */
export function parallel(target, axes, goodness, names) {
  const height = 320;
  const [svg, width] = canvas(target, height, "Parallel coordinates of drawn cells");
  const [top, bottom] = [40, height - 28];
  const gap = (width - 120) / Math.max(axes.length - 1, 1);
  const places = axes.map((axis, i) => {
    const at = 60 + i * gap;
    const numbers = axis.values.every((value) => typeof value === "number");
    const choices = numbers ? [] : [...new Set(axis.values)].sort();
    const positive = numbers && Math.min(...axis.values) > 0 && Math.max(...axis.values) / Math.min(...axis.values) > 20;
    const of = numbers ? (positive ? Math.log10 : (v) => v) : (v) => choices.indexOf(v);
    const all = axis.values.map(of);
    const y = scale(Math.min(...all), Math.max(...all), bottom, top);
    svg.append(element("line", { x1: at, x2: at, y1: top, y2: bottom, class: "zero" }));
    const anchor = i === 0 ? "start" : i === axes.length - 1 ? "end" : "middle";
    const from = i === 0 ? 4 : i === axes.length - 1 ? width - 4 : at;
    svg.append(text(from, 16, axis.name.split(".").pop(), { "text-anchor": anchor, class: "name" }));
    const shown = numbers ? [[Math.min(...axis.values), bottom + 16], [Math.max(...axis.values), top - 8]] : choices.map((c) => [c, y(choices.indexOf(c)) - 5]);
    for (const [value, level] of shown) svg.append(text(from, level, typeof value === "number" ? String(Number(value.toPrecision(3))) : value, { "text-anchor": anchor, class: "label" }));
    return { at, y: all.map(y) };
  });
  const words = document.createElement("p");
  words.className = "note pointed";
  words.textContent = "Point at a line for its cell.";
  const order = goodness.map((_, i) => i).sort((a, b) => goodness[a] - goodness[b]);
  for (const i of order) {
    const line = element("polyline", { points: places.map((place) => `${place.at},${place.y[i]}`).join(" "), class: "cell", "stroke-opacity": (0.08 + 0.92 * goodness[i] ** 3).toFixed(2) });
    line.addEventListener("mouseenter", () => (words.textContent = `${names[i]}: ${axes.map((axis) => `${axis.name} ${typeof axis.values[i] === "number" ? Number(axis.values[i].toPrecision(4)) : axis.values[i]}`).join(", ")}`));
    svg.append(line);
  }
  target.append(words);
}

/**
 * Curves: {label, x, y, low, high, dot, colour}; low and high make a band.
 * options: dots [{x, y, colour}] of single points, stepped, xRange, yRange, height, empty.
 */
export function curves(target, lines, titles, options = {}) {
  target.plot?.destroy();
  target.plot = null;
  const dots = options.dots ?? [];
  if (!lines.length && !dots.length) return say(target, options.empty ?? "Nothing to draw yet.");
  const paths = options.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined;
  const number = (_, value) => (value === null || value === undefined ? "–" : value.toFixed(3));
  const tables = dots.length ? [dotsRange(dots)] : [];
  const hidden = { paths: () => null, points: { show: false }, label: "range", value: number };
  const series = [{ label: titles.x, value: (_, value) => (value === null ? "" : Number(value.toPrecision(4))) }];
  if (dots.length) series.push(hidden);
  const bands = [];
  for (const [i, line] of lines.entries()) {
    const stroke = seriesColour(line.colour ?? i);
    tables.push([line.x, line.y]);
    series.push({ label: line.label, stroke, width: 2, dash: DASHES[(line.colour ?? i) % 8], value: number, paths, points: { show: line.x.length < 20, size: 7, fill: stroke } });
    if (line.low) {
      tables.push([line.x, line.high], [line.x, line.low]);
      const edge = { stroke: "transparent", width: 0, points: { show: false }, value: number, paths };
      series.push({ ...edge, label: `${line.label}, high` }, { ...edge, label: `${line.label}, low` });
      bands.push({ series: [series.length - 2, series.length - 1], fill: `${stroke}2e` });
    }
    if (line.dot) {
      tables.push([[line.dot[0]], [line.dot[1]]]);
      series.push({ ...hidden, stroke, points: { show: true, size: 10, fill: stroke } });
    }
  }
  const axis = { stroke: colour("--text"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, font: "12px system-ui", labelFont: "13px system-ui" };
  target.replaceChildren();
  target.plot = new uPlot(
    {
      width: Math.max(target.clientWidth, 280),
      height: options.height ?? 320,
      scales: { x: { time: false, range: options.xRange }, y: { range: options.yRange ?? valueRange } },
      axes: [{ ...axis, label: titles.x }, { ...axis, label: titles.y, size: 56 }],
      series,
      bands,
      legend: { markers: { width: 3, dash: (_, i) => (series[i].dash?.length ? (series[i].dash[0] < 4 ? "dotted" : "dashed") : "solid") } },
      cursor: { drag: { x: true, y: true, uni: 30 } },
      hooks: { draw: [(plot) => dots.forEach((dot) => paint(plot, dot))] },
    },
    uPlot.join(tables),
    target,
  );
  target.setAttribute("role", "group");
  target.setAttribute("aria-label", `${titles.y} by ${titles.x}: ${lines.map((line) => line.label).join(", ")}`);
  const rows = target.querySelectorAll(".u-legend .u-series");
  series.forEach((one, i) => rows[i]?.classList.toggle("quiet", /^range$|, high$|, low$/.test(one.label)));
  // A click on a name in the legend hides its curve; the first row is the axis.
  [...rows].slice(1).forEach((row) => operable(row.querySelector("th")));
}

/** Lets the keyboard do what a click does. */
export function operable(element) {
  element.tabIndex = 0;
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    element.click();
  });
}

/** uPlot's own range, but for values that are all alike, around which it would take a hundred. */
function valueRange(_, low, high) {
  if (low === null) return [null, null];
  return low === high ? [low - 0.1, high + 0.1] : uPlot.rangeNum(low, high, 0.1, true);
}

/** Two points that make the axes hold all dots. */
function dotsRange(dots) {
  const [xs, ys] = ["x", "y"].map((axis) => dots.flatMap((dot) => dot[axis]));
  const [low, high] = [Math.min(...xs), Math.max(...xs)];
  return [[low, high === low ? low + 1 : high], [Math.min(...ys), Math.max(...ys)]];
}

function paint(plot, dot) {
  const context = plot.ctx;
  context.save();
  context.fillStyle = seriesColour(dot.colour);
  context.globalAlpha = 0.45;
  dot.x.forEach((x, i) => {
    context.beginPath();
    context.arc(plot.valToPos(x, "x", true), plot.valToPos(dot.y[i], "y", true), 3 * devicePixelRatio, 0, 7);
    context.fill();
  });
  context.restore();
}
