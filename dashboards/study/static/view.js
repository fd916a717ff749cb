// What the page of a study knows, what of it a person chose (kept in the address), and how it asks the server.
export const path = document.getElementById("study").dataset.path;
export const at = (id) => document.getElementById(id);
export const view = new URLSearchParams(location.search);
export const shown = { figures: null, evidence: null, trials: null, runs: { runs: {} }, front: [], version: null, arms: null, list: null };

export async function ask(part, query = {}) {
  const asked = new URLSearchParams(query);
  const response = await fetch(`${path}/${part}${asked.size ? `?${asked}` : ""}`, { headers: { Accept: "application/json" } }).catch(() => {
    throw new Error("The server does not answer. Is the command still running?");
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.problem ?? `The server answers with ${response.status}.`);
  return answer;
}

/** A text as nodes: what stands between backquotes is code. */
export function words(text) {
  return text.split("`").map((part, i) => {
    if (i % 2 === 0) return part;
    const code = document.createElement("code");
    code.textContent = part;
    return code;
  });
}

/** Runs an action; what is wrong appears in `target`, and the rest of the page stays. */
export async function attempt(target, action) {
  try {
    await action();
    return true;
  } catch (error) {
    const note = document.createElement("p");
    note.className = "problem";
    note.setAttribute("role", "alert");
    note.append(...words(error.message));
    target.replaceChildren(note);
    return false;
  }
}

export function keep(name, value) {
  if (value === null || value === "" || value === undefined) view.delete(name);
  else view.set(name, value);
  history.replaceState(null, "", `${location.pathname}${view.size ? `?${view}` : ""}${location.hash}`);
}

export const iou = () => view.get("iou") ?? String(shown.figures.ious[0]);
export const base = () => view.get("base") ?? "none";
export const all = () => view.get("all") === "1";
export const chosen = () => view.getAll("arm");

export function sort() {
  const [column, dir] = (view.get("sort") ?? "").split(" ");
  return column ? { column, dir: dir === "desc" ? "desc" : "asc" } : null;
}

export function options(select, values, value) {
  select.replaceChildren(...values.map((one) => new Option(one, one, false, String(one) === value)));
}
