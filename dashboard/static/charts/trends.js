// The fleet's figures over the last hour, as small charts and as a table.
import { count, duration, get, h } from "../dom.js";
import { between, clock, plotDate, ticks } from "../time.js";
import { lone } from "./chart.js";

const HOUR = 3600e3, MINUTE = 60e3, HEIGHT = 130, NARROWEST = 200, SHORT = [4, 4], DOTS = [2, 3];
// A line is broken where nothing was read for so many steps.
const GAP = 6;

const whole = (number) => count(Math.round(number));
const tenths = (number) => count(Math.round(number * 10) / 10);
const WHOLE = [1, 10, 100, 1e3, 1e4, 1e5, 1e6].flatMap((one) => [one, 2 * one, 5 * one]);
const CHARTS = [
  { label: "Messages a second", say: tenths, lines: [["messages", "--accent", ({ messages_per_s: v }) => v]] },
  { label: "Device to hot store", say: duration, lines: [["p50", "--accent", ({ p50_ms: v }) => v], ["p99", "--warn", ({ p99_ms: v }) => v, SHORT]] },
  { label: "Devices", say: whole, incrs: WHOLE, lines: [["online", "--good", ({ online: v }) => v], ["late", "--warn", ({ late: v }) => v, SHORT], ["silent", "--bad", ({ silent: v }) => v, DOTS]] },
  // Over the minute before; the count falls when a worker's process begins anew.
  { label: "Rejected a minute", say: tenths, lines: [["rejected", "--bad", (now, then) => (then ? Math.max(0, now.rejected - then.rejected) * MINUTE / (now.at - then.at) : null)]] },
];

export function trendCharts() {
  const sized = new ResizeObserver(() => { for (const one of charts) one.resize(); });
  const grid = h("div", { class: "trends" }), table = h("div", { class: "tall", tabindex: 0, role: "region", "aria-label": "The last hour as a table" });
  const details = h("details", { ontoggle: rows }, h("summary", {}, "The same as a table"), table);
  const said = h("p", { class: "note" });
  const element = h("section", { class: "card", "aria-label": "The last hour", hidden: true }, h("h2", {}, "The last hour"), said, grid, details);
  const charts = CHARTS.map((one) => chart(one));
  let points = [], step = 10e3, gone = false;
  grid.append(...charts.map((one) => one.box));
  sized.observe(grid);

  function chart({ label, say, lines, incrs }) {
    const picture = h("div", { role: "img" }), key = h("p", { class: "note" }, lines.map(([name, shade, , dash]) => {
      const line = h("span", { class: "line" });
      line.style.borderTop = `2px ${dash === SHORT ? "dashed" : dash === DOTS ? "dotted" : "solid"} var(${shade})`;
      return h("span", { class: "part" }, line, ` ${name}  `);
    }));
    const box = h("div", {}, h("h3", {}, label), picture, key);
    let plot = null;
    function options() {
      const css = getComputedStyle(document.documentElement), color = (key) => css.getPropertyValue(key).trim();
      const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
      const text = (v) => (v === null || v === undefined ? "–" : say(v));
      return {
        width: width(), height: HEIGHT, tzDate: plotDate, legend: { show: false }, cursor: { drag: { x: false, y: false }, points: { size: 5 }, sync: { key: "trends" } },
        scales: { x: { time: true, range: () => [Date.now() - HOUR, Date.now()].map((ms) => ms / 1e3) }, y: { range: (_, low, high) => [0, high ? high * 1.15 : 1] } },
        axes: [{ ...axis, values: ticks, size: 34, space: 70 }, { ...axis, size: 56, space: 26, ...(incrs ? { incrs } : {}), values: (_, all) => all.map(text) }],
        series: [{ value: (_, v) => (v === null ? "–" : clock(v * 1e3)) }, ...lines.map(([name, key, , dash]) => ({ label: name, stroke: color(key), width: 1.5, dash, points: { show: false, size: 4, filter: lone }, value: (_, v) => text(v) }))],
      };
    }
    const width = () => Math.max(NARROWEST, picture.clientWidth);
    function draw() {
      const data = [[], ...lines.map(() => [])];
      for (const [i, now] of points.entries()) {
        const last = points[i - 1], late = last && now.at - last.at > GAP * step;
        if (late) [last.at + step, ...lines.map(() => null)].forEach((v, k) => data[k].push(k ? v : v / 1e3));
        data[0].push(now.at / 1e3);
        lines.forEach(([, , of], k) => data[k + 1].push(of(now, late ? null : minuteBefore(i))));
      }
      picture.setAttribute("aria-label", `${label} over the last hour: ${lines.map(([name], k) => told(name, data[k + 1].filter((v) => v !== null), say)).join("; ")}`);
      if (plot) plot.setData(data);
      else plot = new uPlot(options(), data, picture);
    }
    return { box, draw, resize: () => plot?.setSize({ width: width(), height: HEIGHT }), forget() { plot?.destroy(); plot = null; } };
  }

  // The latest point that is a minute older than this one, or the first one.
  function minuteBefore(i) {
    let k = i - 1;
    while (k > 0 && points[i].at - points[k].at < MINUTE) k -= 1;
    return points[k];
  }

  function told(name, values, say) {
    return values.length ? `${name} now ${say(values.at(-1))}, least ${say(Math.min(...values))}, most ${say(Math.max(...values))}` : `${name} unknown`;
  }

  function rows() {
    if (!details.open) return;
    const columns = CHARTS.flatMap(({ label, say, lines }) => lines.map(([name, , of]) => [lines.length > 1 ? `${label}: ${name}` : label, say, of]));
    table.replaceChildren(h("table", {}, h("caption", {}, "Newest first"), h("thead", {}, h("tr", {}, ["Time", ...columns.map(([head]) => head)].map((one) => h("th", { scope: "col" }, one)))),
      h("tbody", {}, points.toReversed().map((one, i, all) => h("tr", {}, h("td", {}, clock(one.at)), columns.map(([, say, of]) => {
        const v = of(one, minuteBefore(all.length - 1 - i));
        return h("td", {}, v === null ? "–" : say(v));
      }))))));
  }

  function draw() {
    element.hidden = !points.length;
    if (element.hidden) return;
    said.textContent = `${between(Date.now() - HOUR, Date.now())}, as this dashboard's server read it; it begins when the server does.`;
    for (const one of charts) one.draw();
    rows();
  }

  // Who sees some groups only gets no points: they are of all groups.
  async function load() {
    try {
      const found = await get(`api/v1/summary/history?from=${points.length ? points.at(-1).at + 1 : 0}`);
      step = found.step_ms;
      points = [...points, ...found.points].filter((one) => one.at > Date.now() - HOUR);
    } catch { return; }
    if (!gone) draw();
  }

  const refreshing = setInterval(load, 10e3);
  load();
  return {
    element,
    redraw() { for (const one of charts) one.forget(); draw(); },
    leave() { gone = true; clearInterval(refreshing); sized.disconnect(); for (const one of charts) one.forget(); },
  };
}
