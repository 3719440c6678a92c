// The charts of a view, one a metric, over one span: what the view's link holds, zoom and pan, and
// which charts there are.
import { h } from "../dom.js";
import { keep } from "../link.js";
import { makeChart } from "./chart.js";
import { hide, metricBoxes, shownOf, titleOf } from "./metrics.js";
import { ends, moved, part, sane, spanControls } from "./span.js";

export const HOW = "Drag to zoom, Shift and drag to move, double-click for the whole span";

// `path` is the view's and `begin` its state, over `defaults`; `note` stands over each chart, and
// draw(plot) draws on it. tiers() are the names of tiers, names() the metrics that there are, type()
// what their selection is kept under. load() reads for a new span; drawn() draws what was read.
export function chartBoard({ path, defaults, begin, note, draw, tiers, names, type, load, drawn }) {
  const charts = h("div"), shown = new Map();
  let state = sane(begin), before = null, selected = [];
  const controls = spanControls(() => state, tiers, change), boxes = metricBoxes(choose);
  const element = h("div", {}, controls.element, h("div", { class: "controls" }, boxes.element), charts);

  // The charts ask for their range while they are drawn, so a span that ends now moves with the time.
  const view = {
    range: () => ends(state), draw,
    zoom(span) {
      if (span) { before ??= state; change(part(state, span), true); }
      else change(before ?? { ...state, from: 0, to: 0 });
    },
    pan([from, to]) { state = { ...state, from: Math.round(from), to: Math.round(to) }; follow(); },
    panned: () => change(moved(state, 0)),
  };

  function change(wanted, zoomed = false) {
    if (!zoomed) before = null;
    state = wanted;
    kept();
    controls.draw();
    follow();
    load();
  }
  function choose(wanted) {
    hide(names(), wanted, type());
    state = { ...state, metrics: wanted.length === names().length ? [] : wanted };
    drawn();
  }
  // A link says which metrics it shows unless it shows all: its reader may have hidden others.
  function kept() { keep(path, { ...state, metrics: selected }, defaults); }
  function follow() { for (const chart of shown.values()) chart.follow(); }
  function clear() { for (const chart of shown.values()) chart.remove(); shown.clear(); }
  function say(text, problem) {
    clear();
    charts.replaceChildren(h("p", problem ? { class: "notice bad", role: "alert" } : { class: "card empty" }, text));
  }

  // Draw the selected metrics; of(metric) gives what the chart's update() takes.
  function arrange(tier, of) {
    const all = names(), wanted = shownOf(all, state.metrics, type());
    controls.draw(tier);
    boxes.draw(all, wanted);
    if (!all.length) { say("No windows in this span."); return; }
    selected = wanted.length === all.length ? [] : wanted;
    kept();
    for (const name of [...shown.keys()]) if (!wanted.includes(name)) { shown.get(name).remove(); shown.delete(name); }
    if (!shown.size) charts.replaceChildren();
    for (const [i, name] of wanted.entries()) {
      if (!shown.has(name)) shown.set(name, makeChart(name, titleOf(name), note, view));
      const chart = shown.get(name);
      if (charts.children[i] !== chart.card) charts.insertBefore(chart.card, charts.children[i] ?? null);
      chart.update(...of(name));
    }
  }

  return {
    element, arrange, follow, clear,
    failed(error) { if (tiers().length) controls.draw(""); say(error.message, true); },
    empty: (text) => say(text),
    isEmpty: () => !shown.size,
    state: () => state,
    span: () => ends(state),
    isLive: () => !state.to,
    change(more) { state = { ...state, ...more }; kept(); },
    forget() { for (const chart of shown.values()) chart.forget(); },
  };
}
