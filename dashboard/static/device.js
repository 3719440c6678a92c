// One device: a chart for each metric over a span, what is missing, and the last message.
import { HOW, chartBoard } from "./charts/board.js";
import { alertMarks } from "./charts/marks.js";
import { titleOf } from "./charts/metrics.js";
import { SPAN, SPANS, sizeOf } from "./charts/span.js";
import { append, columns, metricsOf, windowsOf } from "./charts/windows.js";
import { commandsCard } from "./commands.js";
import { completenessCard, missingOf } from "./completeness.js";
import { ago, count, get, h, setUnits, state as word, value } from "./dom.js";
import { stateOf } from "./link.js";
import { clock } from "./time.js";

const DEFAULTS = { ...SPAN, metrics: [], back: "", at: 0 };
const NOTE = `Mean, and the range from minimum to maximum. ${HOW}`;
const REASONS = {
  clock_ahead: "the device's clock is ahead", late: "older than every tier keeps", malformed: "not payload v1",
  out_of_range: "a value is too large", overflow: "its window is full", oversize: "larger than IoT Core accepts",
  unsupported_version: "an unknown payload version", internal_error: "a worker failed on it: see its log",
};

export function deviceView(main, live, id, query) {
  const path = `device/${encodeURIComponent(id)}`, lead = h("p", { class: "lead" }, "loading");
  const facts = h("dl", { class: "facts" }), fate = h("div"), gaps = completenessCard();
  let device = null, tier = "", windows = new Map(), asked = 0, timer = 0, nothingYet = true;

  // A link from an alert holds the view that it was in, and the time that it is about.
  const linked = stateOf(query, DEFAULTS), back = linked.back.startsWith("#/") ? linked.back : "#/";
  if (linked.at && !query.has("span")) linked.span = (SPANS.find(([, ms]) => ms > (Date.now() - linked.at) * 1.1) ?? SPANS.at(-1))[1];
  const marks = alertMarks(id, () => { if (!board.isEmpty()) draw(); });
  const board = chartBoard({ path, defaults: DEFAULTS, begin: linked, note: NOTE, draw: marks.draw, tiers: () => device?.tiers ?? [],
    names: () => metricsOf([windows]), type: () => device.type, load, drawn: draw });
  main.append(h("p", {}, h("a", { href: back }, back.startsWith("#/alerts") ? "← Alerts" : "← Fleet")), h("h1", {}, id), lead,
    board.element, marks.card, commandsCard(id),
    h("div", { class: "columns" }, h("section", { class: "card", "aria-label": "Last message" }, h("h2", {}, "Last message"), facts),
      h("section", { class: "card", "aria-label": "Not folded" }, h("h2", {}, "Not folded"), fate)), gaps.card);

  async function begin() {
    try {
      const [summary, found] = await Promise.all([get("api/v1/summary"), get(`api/v1/devices/${encodeURIComponent(id)}`)]);
      setUnits(summary.units);
      device = found;
    } catch (error) {
      lead.textContent = "";
      board.failed(error);
      live.watch([]);
      return;
    }
    header();
    rejected();
    marks.load();
    await load();
    live.watch([id]);
  }

  function header() {
    lead.replaceChildren(word(device.status), ` · heard ${ago(device.last_seen, Date.now())}`, device.type ? ` · ${device.type}` : "", device.group ? ` · ${device.group}` : "");
    facts.replaceChildren(...Object.entries(device.metrics).flatMap(([name, one]) => [h("dt", {}, name), h("dd", {}, value(name, one.v))]),
      h("dt", {}, "measured"), h("dd", {}, clock(device.last_ts)), h("dt", {}, "received"), h("dd", {}, clock(device.last_seen)),
      h("dt", {}, "boot, number"), h("dd", {}, device.boot ? h("code", {}, `${device.boot} / ${device.seq}`) : "–"));
  }

  function rejected() {
    const one = device.rejected;
    if (!one) { fate.replaceChildren(h("p", { class: "empty" }, "No worker reports readings of this device that were not folded.")); return; }
    fate.replaceChildren(h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Readings by disposition" }, h("table", {}, h("caption", {}, `In the archive only, with their bytes; the last ${ago(one.last_at, Date.now())}`),
      h("thead", {}, h("tr", {}, ["Disposition", "Readings", "Because"].map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, Object.entries(one.dispositions).sort((a, b) => b[1] - a[1]).map(([name, number]) => h("tr", {}, h("td", {}, name.replaceAll("_", " ")),
        h("td", {}, count(number)), h("td", {}, REASONS[name] ?? "")))))));
  }

  async function load() {
    if (!device) return;
    const mine = ++asked, span = board.span();
    try {
      const found = await windowsOf([id], device.tiers, board.state().tier, span);
      if (mine !== asked) return;
      ({ tier, found: [windows] } = found);
      draw();
      const missing = await missingOf(id, tier, span);
      if (mine !== asked) return;
      nothingYet = !Object.keys(missing.boots).length;
      gaps.draw(missing);
    } catch (error) { if (mine === asked) board.failed(error); }
  }

  async function more() {
    if (!board.isLive()) return;
    if (nothingYet) { load(); return; }
    const mine = asked;
    try { await append([id], [windows], tier, board.span()); } catch { return; }
    if (mine === asked) draw();
  }

  function draw() {
    board.arrange(tier, (name) => {
      const { data, gaps: holes, points } = columns(windows, name, sizeOf(tier)), alerts = marks.said();
      const said = `${titleOf(name)}: mean with minimum and maximum, ${points} windows of ${tier}, ${holes === 1 ? "1 gap" : `${holes} gaps`}. The table below has the values.`;
      return [data, [{ label: "mean", shade: "--accent" }], alerts ? `${said} Alerts: ${alerts}.` : said, [{ device: id, tier, windows }]];
    });
  }

  const ticking = setInterval(() => { if (device) { header(); if (board.isLive()) board.follow(); } }, 1000);
  const refreshing = setInterval(() => device && board.isLive() && load(), 30000);
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
      timer = setTimeout(more, 250);
    },
    alerts(changed) { if (changed.some((one) => one.device === id)) marks.load(); },
    back() { if (device) { load(); marks.load(); } else begin(); },
    redraw() { board.forget(); if (device) { header(); draw(); marks.load(); } },
    leave() { clearInterval(ticking); clearInterval(refreshing); clearInterval(asking); clearTimeout(timer); asked = -1; board.clear(); },
  };
}
