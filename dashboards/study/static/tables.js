// The table of arms and the table of trials (Tabulator); every text from outside is set as text, never as HTML.
import { format, operable, signed } from "./plots.js";
import { path } from "./view.js";

const nothing = (value) => value === null || value === undefined;

function span(className, words) {
  const made = document.createElement("span");
  if (className) made.className = className;
  made.textContent = words;
  return made;
}

function cell(...parts) {
  const made = document.createElement("span");
  made.append(...parts);
  return made;
}

function bracket(interval, write) {
  return nothing(interval?.[0]) ? "" : span("interval", ` [${write(interval[0])}, ${write(interval[1])}]`);
}

/** Undefined values last, whatever the direction. */
function order(a, b, _a, _b, _column, direction) {
  if (nothing(a) || nothing(b)) return nothing(a) === nothing(b) ? 0 : nothing(a) === (direction === "asc") ? 1 : -1;
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
}

function make(target, columns, options) {
  const table = new Tabulator(target, {
    layout: "fitDataTable",
    columnDefaults: { sorter: order, titleFormatter: (one) => document.createTextNode(one.getValue()), headerTooltip: false, resizable: true },
    columns,
    ...options,
  });
  table.on("tableBuilt", () => reachable(table));
  return table;
}

/** Column headings can be reached and used by keyboard. */
function reachable(table) {
  for (const heading of table.element.querySelectorAll(".tabulator-col.tabulator-sortable")) {
    if (heading.tabIndex === 0) continue;
    operable(heading);
  }
}

function differs(rows, name) {
  return new Set(rows.map((row) => row.settings[name] ?? null)).size > 1;
}

/** Rows of the table of arms, from what the server sent. */
export function armRows(figures, evidence, iou, base, running) {
  const at = `iou${Math.round(100 * iou)}`;
  return figures.rows.map((row) => {
    const gain = row.number === null ? evidence?.gains[at]?.[row.name] : undefined;
    const intervals = row.number === null ? evidence?.intervals[at]?.[row.name] : undefined;
    const value = (split, name) => row.values[`${split}_${name}_${at}`] ?? null;
    return {
      ...row,
      ...Object.fromEntries(Object.entries(row.settings).map(([name, setting]) => [`setting ${name}`, setting])),
      id: row.name,
      running: running.has(row.name),
      isBase: row.name === base,
      sensitivity: value("test", "sensitivity"),
      sensitivityInterval: intervals?.sensitivity,
      sensitivitySd: row.values[`test_sensitivity_${at}_sd`] ?? null,
      fps: value("test", "fps_per_slice"),
      fpsInterval: intervals?.fps_per_slice,
      validation: value("validation", "sensitivity"),
      validationFps: value("validation", "fps_per_slice"),
      gain: gain?.difference ?? null,
      gainInterval: gain?.interval,
      p: gain?.p ?? null,
      equal: gain?.at_equal_fps ?? null,
      equalInterval: gain?.interval_at_equal_fps,
      equalP: gain?.p_at_equal_fps ?? null,
      detectable: gain?.minimum_detectable ?? null,
      sample: gain?.sample,
    };
  });
}

const pText = (p) => (nothing(p) ? "–" : p < 0.001 ? "<0.001" : p.toFixed(3));

function armColumns(rows, all) {
  const best = (name, choose) => {
    const values = rows.map((row) => row[name]).filter((value) => !nothing(value));
    return values.length > 1 ? choose(...values) : null;
  };
  const figure = (title, field, interval, write, choose, more = {}) => {
    const top = choose ? best(field, choose) : null;
    return { title, field, hozAlign: "right", headerHozAlign: "right", ...more, formatter: (one) => {
      const value = one.getValue();
      return nothing(value) ? "–" : cell(span(value === top ? "best" : "", write(value)), interval ? bracket(one.getData()[interval], write) : "");
    } };
  };
  const [three, two, plus] = [(v) => format(v), (v) => format(v, 2), (v) => signed(v)];
  const settings = [...new Set(rows.flatMap((row) => Object.keys(row.settings)))].filter((name) => all || (differs(rows, name) && !(rows.every((row) => row.number === null) && ["variant", "count"].includes(name))));
  return [
    { formatter: "rowSelection", titleFormatter: () => span("", "FROC"), title: "FROC", headerSort: false, hozAlign: "center", width: 64, frozen: innerWidth > 700 },
    { title: "arm", field: "name", frozen: innerWidth > 700, minWidth: 130, formatter: (one) => cell(one.getData().running ? span("mark running", "") : "", one.getData().running ? " " : "", one.getValue(), one.getData().isBase ? " (base)" : "") },
    { title: "slices", field: "id", headerSort: false, formatter: (one) => slicesLink(one.getValue(), rows) },
    figure("sensitivity", "sensitivity", "sensitivityInterval", three, Math.max),
    figure("FPs/slice", "fps", "fpsInterval", two, Math.min),
    figure("gain", "gain", "gainInterval", plus, Math.max),
    { ...figure("p (Holm)", "p", null, pText, null) },
    figure("validation sensitivity", "validation", null, three, Math.max),
    ...settings.map((name) => ({ title: name, field: `setting ${name}`, hozAlign: "right", headerHozAlign: "right", formatter: (one) => {
      const value = one.getValue();
      return document.createTextNode(nothing(value) ? "–" : typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value));
    } })),
    { title: "seeds", field: "seeds", hozAlign: "right", headerHozAlign: "right" },
    ...(all ? [
      figure("SD of sensitivity", "sensitivitySd", null, three, null),
      figure("validation FPs/slice", "validationFps", null, two, Math.min),
      figure("gain at equal FPs", "equal", "equalInterval", plus, Math.max),
      figure("p at equal FPs", "equalP", null, pText, null),
      figure("min. detectable gain", "detectable", null, three, null),
    ] : []),
  ];
}

/** Where slices are shown with what an arm finds on them, beside the base. */
function slicesLink(name, rows) {
  const base = rows.find((row) => row.isBase)?.name;
  const made = document.createElement("a");
  const arms = [...new Set([...(base ? [base] : []), name])].map((arm) => ["arm", arm]);
  made.href = `${path}/slices?${new URLSearchParams(arms)}`;
  made.textContent = "show";
  made.setAttribute("aria-label", `slices under ${name}`);
  return made;
}

export function armsTable(target, rows, all, sort, on) {
  const table = make(target, armColumns(rows, all), {
    data: rows,
    nestedFieldSeparator: "\u0000", // names of settings hold dots
    maxHeight: "70vh",
    placeholder: "No arm fits the filter.",
    selectableRows: 8,
    selectableRowsPersistence: true,
    initialSort: sort ? [sort] : [],
    rowFormatter: (row) => row.getElement().classList.toggle("is-base", row.getData().isBase),
  });
  table.on("dataSorted", (sorters) => on.sorted(sorters[0] ? { column: sorters[0].field, dir: sorters[0].dir } : null));
  table.on("rowSelectionChanged", (data) => on.chosen(data.map((row) => row.name)));
  return table;
}

const clock = (seconds) => {
  if (nothing(seconds)) return "";
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  return h ? `${h}:${String(m).padStart(2, "0")}:${String(s).padStart(2, "0")}` : `${m}:${String(s).padStart(2, "0")}`;
};

export function trialsTable(target, trials, objective, selected) {
  const number = (one) => document.createTextNode(nothing(one.getValue()) ? "–" : format(one.getValue()));
  const right = { hozAlign: "right", headerHozAlign: "right" };
  const table = make(target, [
    ...(selected ? [{ formatter: "rowSelection", titleFormatter: "rowSelection", headerSort: false, hozAlign: "center", width: 44 }] : []),
    { title: "trial", field: "trial", minWidth: 150, formatter: (one) => document.createTextNode(one.getValue()) },
    { title: "state", field: "state", formatter: (one) => cell(one.getValue() === "running" ? span("mark running", "") : "", " ", span(`state-${one.getValue()}`, one.getValue())) },
    { title: "stage", field: "stage", formatter: (one) => document.createTextNode(one.getValue()) },
    { title: "progress", field: "share", ...right, formatter: (one) => document.createTextNode(nothing(one.getValue()) ? "" : `${Math.round(100 * one.getValue())} %`) },
    { title: "time left", field: "left", ...right, formatter: (one) => document.createTextNode(clock(one.getValue())) },
    { title: `${objective}, best`, field: "best", ...right, formatter: number },
    { title: "last", field: "last", ...right, formatter: number },
    { title: "reason", field: "reason", formatter: (one) => document.createTextNode(one.getValue() ?? "") },
    { title: "MLflow run", field: "run", formatter: (one) => link(one.getData()) },
    { title: "stage key", field: "key", headerSort: false, formatter: (one) => {
      const made = document.createElement("code");
      made.textContent = one.getValue().slice(0, 8);
      made.title = one.getValue();
      return made;
    } },
  ], { index: "trial", data: trials, maxHeight: "60vh", placeholder: "No trial.", selectableRows: Boolean(selected), selectableRowsPersistence: true });
  if (selected) table.on("rowSelectionChanged", (data) => selected(data.map((row) => row.trial)));
  return table;
}

/** The run of a row in MLflow: a link where a server shows it, else the beginning of its id. */
export function link(row) {
  if (!row.run) return document.createTextNode("–");
  if (!row.server) return document.createTextNode(row.run.slice(0, 8));
  const made = document.createElement("a");
  made.href = `${row.server}/#/runs/${encodeURIComponent(row.run)}`;
  made.rel = "noreferrer";
  made.target = "_blank";
  made.textContent = row.run.slice(0, 8);
  return made;
}
