// Which metrics a view shows. What was hidden lasts, by type of device; a link says it for itself.
import { h, unit } from "../dom.js";

const key = (type) => `hidden:${type}`;

function hidden(type) { try { return new Set(JSON.parse(localStorage.getItem(key(type)) ?? "[]")); } catch { return new Set(); } }

// Of these names, those to show: as the link says, else all that were not hidden; never none.
export function shownOf(names, linked, type) {
  const away = hidden(type), shown = names.filter((name) => (linked.length ? linked.includes(name) : !away.has(name)));
  return shown.length ? shown : names;
}

export function hide(names, shown, type) {
  const away = hidden(type);
  for (const name of names) if (shown.includes(name)) away.delete(name); else away.add(name);
  try { localStorage.setItem(key(type), JSON.stringify([...away])); } catch { /* a private window */ }
}

export const titleOf = (metric) => (unit(metric) ? `${metric} (${unit(metric)})` : metric);

// A box for each metric; change(names to show) is called with at least one.
export function metricBoxes(change) {
  const element = h("div", { class: "group", role: "group", "aria-label": "Metrics" });
  function draw(names, shown) {
    const text = names.join("\n") + shown.join(",");
    element.hidden = names.length < 2;
    if (element.dataset.text === text) return;
    element.dataset.text = text;
    element.replaceChildren(...names.map((name) => h("label", { class: "box" }, h("input", { type: "checkbox", checked: shown.includes(name), "data-metric-box": name,
      disabled: shown.length === 1 && shown[0] === name, onchange: (event) => {
        change(names.filter((one) => (one === name ? event.target.checked : shown.includes(one))));
        element.querySelector(`[data-metric-box="${name}"]`)?.focus();
      } }), name)));
  }
  return { element, draw };
}
