// One device: a chart for each metric, what is missing, and the last message.
import { commandsCard } from "./commands.js";
import { alertMarks } from "./marks.js";
import { ago, clock, count, get, h, setUnits, state, unit, value } from "./dom.js";

const SPANS = [["10 min", 600e3], ["1 h", 3600e3], ["6 h", 6 * 3600e3], ["1 d", 86400e3], ["7 d", 7 * 86400e3]];
const SIZES = { s: 1e3, m: 60e3, h: 3600e3, d: 86400e3 };
const MOST = 2000;

const REASONS = {
  clock_ahead: "the device's clock is ahead", late: "older than every tier keeps", malformed: "not payload v1",
  out_of_range: "a value is too large", overflow: "its window is full", oversize: "larger than IoT Core accepts",
  unsupported_version: "an unknown payload version", internal_error: "a worker failed on it: see its log",
};

const sizeOf = (tier) => parseInt(tier, 10) * SIZES[tier.at(-1)];

export function deviceView(main, live, id, query) {
  const title = h("h1", {}, id);
  const lead = h("p", { class: "lead" }, "loading");
  const charts = h("div");
  const facts = h("dl", { class: "facts" });
  const gaps = h("div");
  const fate = h("div");
  const tierButtons = h("div", { class: "group", role: "group", "aria-label": "Window size" });
  const spanButtons = h("div", { class: "group", role: "group", "aria-label": "Span" });
  const shown = new Map();
  let device = null, tier = null, nothingYet = true, span = 600e3, windows = new Map(), asked = 0, timer = 0, zoom = null;

  // A link from an alert holds the view that it was in, and the time that it is about.
  const back = query.get("back")?.startsWith("#/alerts") ? query.get("back") : "";
  const at = Number(query.get("at")) || 0;
  const marks = alertMarks(id, () => { for (const { plot } of shown.values()) plot?.redraw(false); });
  main.append(h("p", {}, h("a", { href: back || "#/" }, back ? "← Alerts" : "← Fleet")), title, lead,
    h("div", { class: "controls" }, tierButtons, spanButtons), charts, marks.card, commandsCard(id),
    h("div", { class: "columns" },
      h("section", { class: "card" }, h("h2", {}, "Last message"), facts),
      h("section", { class: "card" }, h("h2", {}, "Not folded"), fate),
      h("section", { class: "card" }, h("h2", {}, "Completeness"), gaps)));

  function buttons(group, options, chosen, choose) {
    group.replaceChildren(...options.map(([label, key]) => h("button", {
      type: "button", "aria-pressed": String(key === chosen()), onclick: () => { choose(key); redrawButtons(); load(); },
    }, label)));
  }
  function redrawButtons() {
    buttons(tierButtons, device.tiers.map((name) => [name, name]), () => tier, (name) => { tier = name; fit(); });
    buttons(spanButtons, SPANS, () => span, (ms) => { span = ms; zoom = null; fit(true); });
  }
  function fit(keepSpan = false) {
    // No more windows than can be told apart: the other of the two gives way.
    while (span / sizeOf(tier) > MOST) {
      if (keepSpan) tier = device.tiers[device.tiers.indexOf(tier) + 1] ?? tier;
      else span = SPANS.findLast(([, ms]) => ms < span)[1];
      if (keepSpan && tier === device.tiers.at(-1)) break;
    }
  }

  async function begin() {
    try {
      setUnits((await get("api/v1/summary")).units);
      device = await get(`api/v1/devices/${encodeURIComponent(id)}`);
    } catch (error) {
      lead.textContent = "";
      charts.replaceChildren(h("p", { class: "notice bad", role: "alert" }, error.message));
      live.watch([]);
      return;
    }
    tier = device.tiers[0];
    if (at) { span = (SPANS.find(([, ms]) => ms > (Date.now() - at) * 1.1) ?? SPANS.at(-1))[1]; fit(true); }
    redrawButtons();
    header();
    rejected();
    marks.load();
    await load();
    live.watch([id]);
  }

  function header() {
    lead.replaceChildren(state(device.status), ` · heard ${ago(device.last_seen, Date.now())}`,
      device.type ? ` · ${device.type}` : "", device.group ? ` · ${device.group}` : "");
    facts.replaceChildren(...Object.entries(device.metrics).flatMap(([name, one]) =>
      [h("dt", {}, name), h("dd", {}, value(name, one.v))]),
      h("dt", {}, "measured"), h("dd", {}, clock(device.last_ts)),
      h("dt", {}, "received"), h("dd", {}, clock(device.last_seen)),
      h("dt", {}, "boot, number"), h("dd", {}, device.boot ? h("code", {}, `${device.boot} / ${device.seq}`) : "–"));
  }

  function rejected() {
    const one = device.rejected;
    if (!one) { fate.replaceChildren(h("p", { class: "empty" }, "No worker reports readings of this device that were not folded.")); return; }
    fate.replaceChildren(h("div", { class: "scroll" }, h("table", {}, h("caption", {}, `In the archive only, with their bytes; the last ${ago(one.last_at, Date.now())}`),
      h("thead", {}, h("tr", {}, ["Disposition", "Readings", "Because"].map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, Object.entries(one.dispositions).sort((a, b) => b[1] - a[1]).map(([name, number]) => h("tr", {}, h("td", {}, name.replaceAll("_", " ")),
        h("td", {}, count(number)), h("td", {}, REASONS[name] ?? "")))))));
  }

  async function fetchWindows(from, to) {
    const found = [];
    let cursor = null;
    do {
      const query = new URLSearchParams({ tier, from: Math.floor(from), to: Math.floor(to), limit: 1000 });
      if (cursor) query.set("cursor", cursor);
      const page = await get(`api/v1/devices/${encodeURIComponent(id)}/windows?${query}`);
      found.push(...page.windows);
      cursor = page.cursor;
    } while (cursor);
    return found;
  }

  async function load() {
    const mine = ++asked, now = Date.now();
    try {
      const found = await fetchWindows(now - span, now + 60e3);
      if (mine !== asked) return;
      windows = new Map(found.map((one) => [Date.parse(one.start), one]));
      draw();
      const query = new URLSearchParams({ tier, from: Math.floor(now - span), to: Math.floor(now + 60e3) });
      const missing = await get(`api/v1/devices/${encodeURIComponent(id)}/missing?${query}`);
      if (mine === asked) completeness(missing);
    } catch (error) {
      if (mine === asked) charts.replaceChildren(h("p", { class: "notice bad", role: "alert" }, error.message));
    }
  }

  async function append() {
    const mine = asked, size = sizeOf(tier), newest = Math.max(0, ...windows.keys());
    try {
      for (const one of await fetchWindows(Math.max(newest - size, Date.now() - span), Date.now() + 60e3)) {
        if (mine !== asked) return;
        windows.set(Date.parse(one.start), one);
      }
    } catch { return; }
    for (const at of windows.keys()) if (at < Date.now() - span - size) windows.delete(at);
    draw();
    if (nothingYet && windows.size) load();
  }

  function draw() {
    const names = [...new Set([...windows.values()].flatMap((one) => Object.keys(one.metrics)))].sort();
    if (!names.length) {
      shown.clear();
      charts.replaceChildren(h("p", { class: "card empty" }, "No windows in this span."));
      return;
    }
    for (const name of shown.keys()) if (!names.includes(name)) { shown.get(name).card.remove(); shown.delete(name); }
    if (!shown.size) charts.replaceChildren();
    for (const name of names) {
      if (!shown.has(name)) { const made = makeChart(name); shown.set(name, made); charts.append(made.card); }
      update(name);
    }
  }

  function columns(name) {
    // One point a window; a null where a window is missing, so that a gap is a gap.
    const size = sizeOf(tier), x = [], mean = [], min = [], max = [];
    let before = null;
    for (const at of [...windows.keys()].sort((a, b) => a - b)) {
      const one = windows.get(at).metrics[name];
      if (!one) continue;
      if (before !== null && at - before > size) { x.push((before + size) / 1e3); mean.push(null); min.push(null); max.push(null); }
      x.push(at / 1e3); mean.push(one.mean); min.push(one.min); max.push(one.max);
      before = at;
    }
    return [x, max, min, mean];
  }

  function makeChart(name) {
    const box = h("div", { class: "chart", role: "img" });
    const table = h("div", { class: "tall" });
    const details = h("details", { ontoggle: () => rowsOf(name) }, h("summary", {}, "The same as a table"), table);
    const label = unit(name) ? `${name} (${unit(name)})` : name;
    const card = h("section", { class: "card", "data-metric": name }, h("h2", {}, label), h("p", { class: "note" }, "Mean, and the range from minimum to maximum; times are UTC. Drag to zoom in, double-click to see the whole span"), box, details);
    return { card, box, table, details, label, plot: null };
  }

  function update(name) {
    const chart = shown.get(name), data = columns(name);
    const points = data[0].filter((_, i) => data[3][i] !== null).length;
    chart.box.setAttribute("aria-label", `${chart.label}: mean with minimum and maximum, ${points} windows of ${tier}. The table below has the values.${marks.said() ? ` Alerts: ${marks.said()}.` : ""}`);
    if (chart.plot) chart.plot.setData(data);
    else {
      chart.plot = new uPlot(options(chart), data, chart.box);
      sizes.observe(chart.box);
    }
    rowsOf(name);
  }

  function options(chart) {
    const css = getComputedStyle(document.documentElement), color = (key) => css.getPropertyValue(key).trim();
    const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line") } };
    const shade = color("--accent");
    return {
      width: Math.max(240, chart.box.clientWidth || main.clientWidth - 64), height: 220,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
      // The axis is the span that was chosen, or the part of it that was dragged over: on every chart.
      scales: { x: { time: true, range: () => zoom ?? [(Date.now() - span) / 1e3, Date.now() / 1e3] }, y: { range: (_, low, high) => low === null ? [0, 1] : low === high ? [low - 1, high + 1] : uPlot.rangeNum(low, high, 0.1, true) } }, cursor: { points: { size: 6 }, drag: { setScale: false }, bind: { dblclick: () => () => zoomTo(null) } },
      hooks: { draw: [marks.draw], setScale: [(plot, key) => { if (key === "x") chart.box.dataset.seconds = Math.round(plot.scales.x.max - plot.scales.x.min); }],
        setSelect: [(plot) => { if (plot.select.width) zoomTo([plot.select.left, plot.select.left + plot.select.width].map((x) => plot.posToVal(x, "x"))); }] },
      axes: [{ ...axis }, { ...axis, size: 62 }],
      series: [{}, { label: "max", stroke: `${shade}00`, points: { show: false } }, { label: "min", stroke: `${shade}00`, points: { show: false } },
        { label: "mean", stroke: shade, width: 2, points: { size: 4 } }],
      bands: [{ series: [1, 2], fill: `${shade}33` }],
    };
  }

  function zoomTo(part) {
    zoom = part;
    for (const { plot } of shown.values()) {
      plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      plot.setData(plot.data);
    }
  }

  function rowsOf(name) {
    const chart = shown.get(name);
    if (!chart || !chart.details.open) return;
    const rows = [...windows.entries()].filter(([, one]) => one.metrics[name]).sort((a, b) => b[0] - a[0]).slice(0, 500);
    chart.table.replaceChildren(h("table", {}, h("caption", {}, `${chart.label}, newest first`),
      h("thead", {}, h("tr", {}, ["Window", "Readings", "Mean", "Min", "Max", "Std. dev."].map((one) => h("th", { scope: "col" }, one)))),
      h("tbody", {}, rows.map(([at, one]) => { const m = one.metrics[name]; return h("tr", {}, h("td", {}, clock(at)),
        [m.n, m.mean, m.min, m.max, m.stddev].map((v) => h("td", {}, String(+Number(v).toPrecision(6))))); }))));
  }

  function completeness({ boots }) {
    const all = Object.entries(boots);
    nothingYet = !all.length;
    if (!all.length) { gaps.replaceChildren(h("p", { class: "empty" }, "Nothing in this span.")); return; }
    gaps.replaceChildren(h("div", { class: "scroll" }, h("table", {}, h("caption", {}, "Sequence numbers by boot, within the span"),
      h("thead", {}, h("tr", {}, ["Boot", "From – to", "There", "Missing"].map((one) => h("th", { scope: "col" }, one)))),
      h("tbody", {}, all.map(([boot, one]) => h("tr", {}, h("td", {}, h("code", {}, boot)), h("td", {}, `${one.first} – ${one.last}`),
        h("td", {}, count(one.present)), h("td", {}, one.missing
          ? `${count(one.missing)}: ${one.gaps.slice(0, 8).map(([a, b]) => (a === b ? a : `${a}–${b}`)).join(", ")}${one.gaps.length > 8 ? ", …" : ""}`
          : "none")))))));
  }

  const resized = () => { for (const chart of shown.values()) chart.plot?.setSize({ width: Math.max(240, chart.box.clientWidth), height: 220 }); };
  const sizes = new ResizeObserver(resized);
  const ticking = setInterval(() => device && header(), 1000);
  const refreshing = setInterval(() => device && load(), 30000);
  const asking = setInterval(async () => {
    if (!device) return;
    try { device = { ...device, ...await get(`api/v1/devices/${encodeURIComponent(id)}`) }; rejected(); } catch { /* the next one tells */ }
  }, 5000);
  begin();

  return {
    devices(changed) {
      const mine = changed.find((one) => one.device === id);
      if (!mine || !device) return;
      device = { ...device, ...mine };
      header();
      clearTimeout(timer);
      timer = setTimeout(append, 250);
    },
    alerts(changed) { if (changed.some((one) => one.device === id)) marks.load(); },
    back() { if (device) { load(); marks.load(); } else begin(); },
    redraw() { for (const chart of shown.values()) { chart.plot?.destroy(); chart.plot = null; } if (device) draw(); },
    leave() { clearInterval(ticking); clearInterval(refreshing); clearInterval(asking); clearTimeout(timer); asked = -1; sizes.disconnect(); },
  };
}
