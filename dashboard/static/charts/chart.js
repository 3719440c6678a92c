// A chart of windows: mean and range of one device, or the means of several; drag to zoom, Shift and
// drag to move. The same values are in a table, and can be saved.
import { h } from "../dom.js";
import { between, clock, plotDate, ticks } from "../time.js";
import { saveCsv, savePng } from "./save.js";

const HEIGHT = 220, NARROWEST = 240, ROWS = 500;
const sized = new ResizeObserver((entries) => { for (const { target } of entries) target.resized?.(); });

const color = (key) => getComputedStyle(document.documentElement).getPropertyValue(key).trim();

// For uPlot: of a line whose points are not shown, those that no line leads to or from.
export function lone(plot, line, shown) {
  if (shown) return null;
  const found = [];
  let before = null;
  for (const [i, v] of [...plot.data[line], null].entries()) {
    if (v === undefined) continue;
    if (v === null && before !== null && before.alone) found.push(before.i);
    before = v === null ? null : { i, alone: before === null };
  }
  return found;
}

// `view` says what the chart covers: range() (ms, ms), zoom([from, to]) or zoom(null) for the whole span
// again, and hooks for uPlot. update(data, lines, said, series) draws: uPlot's data; lines of {label, shade,
// dash}; what a screen reader hears; and series of {device, tier, windows} for the table and the files.
export function makeChart(metric, label, note, view) {
  const box = h("div", { class: "chart", role: "img" }), table = h("div", { class: "tall", tabindex: 0, role: "region", "aria-label": `Values of ${label}` });
  const details = h("details", { ontoggle: rows }, h("summary", {}, "The same as a table"), table);
  const file = (text, save) => h("button", { type: "button", class: "small", "aria-label": `${text} of ${label}`, onclick: save }, text);
  const card = h("section", { class: "card", "data-metric": metric, "aria-label": label },
    h("div", { class: "head" }, h("h2", {}, label), h("div", { class: "group" },
      file("CSV", () => saveCsv(series, metric)), file("PNG", () => plot && savePng(plot, label, caption())))),
    h("p", { class: "note" }, note), box, details);
  let plot = null, lines = [], series = [];

  function caption() {
    const names = lines.length > 1 ? lines.map((one) => ({ text: one.label, shade: color(one.shade) })) : [{ text: series.map((one) => one.device).join(", ") }];
    return [{ text: between(...view.range()) }, ...names];
  }

  function update(data, wanted, said, shown) {
    const same = plot && wanted.map((one) => one.label).join("\n") === lines.map((one) => one.label).join("\n");
    lines = wanted;
    series = shown;
    box.setAttribute("aria-label", said);
    if (same) plot.setData(data);
    else {
      plot?.destroy();
      plot = new uPlot(options(), data, box);
      sized.observe(box);
    }
    rows();
  }

  function options() {
    const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line") }, font: "12px system-ui, sans-serif" };
    const one = lines.length === 1, shade = color(lines[0].shade), hidden = { stroke: "transparent", points: { show: false } };
    const line = ({ label: name, shade: key, dash }) => ({ label: name, stroke: color(key), width: 2, dash, points: { size: 4, filter: lone }, value: (_, v) => (v === null ? "–" : String(+v.toPrecision(6))) });
    return {
      width: Math.max(NARROWEST, box.clientWidth), height: HEIGHT, tzDate: plotDate,
      scales: {
        // The axis is the span that was chosen, on every chart.
        x: { time: true, range: () => view.range().map((ms) => ms / 1e3) },
        y: { range: (_, low, high) => (low === null ? [0, 1] : low === high ? [low - 1, high + 1] : uPlot.rangeNum(low, high, 0.1, true)) },
      },
      cursor: { points: { size: 6 }, drag: { setScale: false }, sync: { key: "charts", setSeries: false, filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } }, bind: { dblclick: () => () => view.zoom(null), mousedown: pressed } },
      hooks: {
        draw: view.draw ? [view.draw] : [],
        setScale: [(self, key) => { if (key === "x") box.dataset.seconds = Math.round(self.scales.x.max - self.scales.x.min); }],
        setSelect: [(self) => {
          const { left, width } = self.select;
          if (width > 3 && self === plot) { self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false); view.zoom([left, left + width].map((x) => self.posToVal(x, "x") * 1e3)); }
        }],
      },
      axes: [{ ...axis, values: ticks, size: 44 }, { ...axis, size: 62 }],
      series: [{ value: (_, v) => (v === null ? "–" : clock(v * 1e3)) }, ...(one ? [{ label: "max", ...hidden }, { label: "min", ...hidden }] : []), ...lines.map(line)],
      bands: one ? [{ series: [1, 2], fill: `${shade}33` }] : [],
    };
  }

  // With Shift the chart moves with the pointer, in place of a selection.
  function pressed(self, _, select) {
    return (event) => {
      if (event.button !== 0) return null;
      if (!event.shiftKey) return select(event);
      const [from, to] = view.range(), begin = event.clientX, scale = (to - from) / self.over.clientWidth;
      const moved = (now) => { const by = (begin - now.clientX) * scale; view.pan([from + by, to + by]); };
      const done = () => { removeEventListener("pointermove", moved); removeEventListener("pointerup", done); view.panned(); };
      addEventListener("pointermove", moved);
      addEventListener("pointerup", done);
      return null;
    };
  }

  function rows() {
    if (!details.open) return;
    const found = series.flatMap(({ device, windows }) => [...windows.entries()].filter(([, one]) => one.metrics[metric]).map(([at, one]) => [at, device, one.metrics[metric]]));
    found.sort((a, b) => b[0] - a[0]);
    const several = series.length > 1, heads = ["Window", ...(several ? ["Device"] : []), "Readings", "Mean", "Min", "Max", "Std. dev."];
    table.replaceChildren(h("table", {}, h("caption", {}, `${label}, newest first${found.length > ROWS ? `, ${ROWS} of ${found.length}: the CSV has all` : ""}`),
      h("thead", {}, h("tr", {}, heads.map((one) => h("th", { scope: "col" }, one)))),
      h("tbody", {}, found.slice(0, ROWS).map(([at, device, m]) => h("tr", {}, h("td", {}, clock(at)), several ? h("td", {}, device) : null,
        [m.n, m.mean, m.min, m.max, m.stddev].map((v) => h("td", {}, String(+Number(v).toPrecision(6)))))))));
  }

  box.resized = () => plot?.setSize({ width: Math.max(NARROWEST, box.clientWidth), height: HEIGHT });
  return {
    card, update,
    // The axis again, after the span moved.
    follow: () => plot?.setData(plot.data),
    // Draw anew with other colors or another clock.
    forget() { plot?.destroy(); plot = null; },
    remove() { sized.unobserve(box); plot?.destroy(); card.remove(); },
  };
}
