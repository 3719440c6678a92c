// Several devices on one chart a metric: the mean of each, or the mean and range of all together.
import { HOW, chartBoard } from "./charts/board.js";
import { titleOf } from "./charts/metrics.js";
import { SPAN, sizeOf } from "./charts/span.js";
import { append, columns, joined, merged, metricsOf, windowsOf } from "./charts/windows.js";
import { get, h, setUnits } from "./dom.js";
import { stateOf } from "./link.js";
import { MOST } from "./rows.js";

const DEFAULTS = { ...SPAN, metrics: [], devices: [], show: "each" };
const DASHES = [undefined, [8, 4], [2, 3], [10, 3, 2, 3]];
const shadeOf = (i) => ({ shade: `--line-${i + 1}`, dash: DASHES[i % DASHES.length] });

export function compareView(main, live, _, query) {
  const linked = stateOf(query, DEFAULTS), said = h("p", { role: "status", "aria-live": "polite", class: "note" });
  const chips = h("ul", { class: "chips", "aria-label": "Devices" }), kinds = h("div", { class: "group", role: "group", "aria-label": "What the charts show" });
  const field = h("input", { type: "text", autocomplete: "off", maxlength: 128, required: true });
  const form = h("form", { class: "controls", onsubmit: (event) => { event.preventDefault(); add(field.value.trim()); } }, h("label", {}, "Add a device, its whole name", field), h("button", { type: "submit" }, "Add"));
  let devices = [...new Set(linked.devices)].slice(0, MOST), mode = linked.show === "mean" ? "mean" : "each";
  let tiers = [], tier = "", maps = [], asked = 0;
  const board = chartBoard({ path: "compare", defaults: DEFAULTS, begin: linked, note: HOW, tiers: () => tiers, names: () => metricsOf(maps), type: () => "", load, drawn: draw });
  main.append(h("p", {}, h("a", { href: "#/" }, "← Fleet")), h("h1", {}, "Compare devices"), h("p", { class: "lead" }, "The same metric of several devices on one chart."),
    chips, form, said, h("div", { class: "controls" }, kinds), board.element);

  function controls() {
    chips.replaceChildren(...devices.map((name, i) => h("li", {}, key(i), h("a", { href: `#/device/${encodeURIComponent(name)}` }, name),
      h("button", { type: "button", class: "small quiet", "aria-label": `Remove ${name}`, onclick: () => remove(name) }, "✕"))));
    kinds.replaceChildren(...[["each", "Mean of each device"], ["mean", "Mean and range of all"]].map(([word, text]) => h("button", { type: "button", "aria-pressed": String(word === mode),
      onclick: () => { mode = word; board.change({ show: mode }); board.clear(); controls(); draw(); kinds.querySelector('[aria-pressed="true"]').focus(); } }, text)));
    kinds.hidden = devices.length < 2;
    form.hidden = devices.length >= MOST;
  }
  // A piece of the line, as the chart draws it.
  function key(i) {
    const { shade, dash } = shadeOf(i), canvas = h("canvas", { width: 44, height: 8, class: "key", "aria-hidden": "true" }), ctx = canvas.getContext("2d");
    ctx.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue(shade).trim();
    ctx.lineWidth = 4;
    ctx.setLineDash((dash ?? []).map((one) => one * 2));
    ctx.beginPath();
    ctx.moveTo(0, 4);
    ctx.lineTo(44, 4);
    ctx.stroke();
    return canvas;
  }

  async function add(name) {
    if (!name || devices.includes(name)) { said.textContent = name ? `${name} is there already.` : ""; return; }
    try { tiers = (await get(`api/v1/devices/${encodeURIComponent(name)}`)).tiers; } catch (error) { said.textContent = error.message; return; }
    field.value = "";
    said.textContent = `${name} added.`;
    renew([...devices, name]);
  }
  function remove(name) {
    said.textContent = `${name} removed.`;
    renew(devices.filter((one) => one !== name));
    (chips.querySelector("button") ?? field).focus();
  }
  function renew(wanted) {
    devices = wanted;
    maps = [];
    board.change({ devices });
    board.clear();
    controls();
    live.watch(devices);
    load();
  }

  async function begin() {
    controls();
    try {
      setUnits((await get("api/v1/summary")).units);
      const found = await Promise.all(devices.map((one) => get(`api/v1/devices/${encodeURIComponent(one)}`).catch((error) => error)));
      const gone = devices.filter((_, i) => found[i] instanceof Error);
      if (gone.length) said.textContent = found.filter((one) => one instanceof Error).map((one) => one.message).join("; ");
      devices = devices.filter((one) => !gone.includes(one));
      tiers = found.find((one) => one.tiers)?.tiers ?? [];
      board.change({ devices });
      controls();
    } catch (error) { board.failed(error); return; }
    live.watch(devices);
    load();
  }

  async function load() {
    const mine = ++asked, span = board.span();
    if (!devices.length) { board.empty("Add a device to begin."); return; }
    try {
      const found = await windowsOf(devices, tiers, board.state().tier, span);
      if (mine !== asked) return;
      ({ tier, found: maps } = found);
      draw();
    } catch (error) { if (mine === asked) board.failed(error); }
  }

  async function more() {
    if (!board.isLive() || !maps.length) return;
    const mine = asked, mineToo = maps;
    try { await append(devices, mineToo, tier, board.span()); } catch { return; }
    if (mine === asked) draw();
  }

  function draw() {
    if (!devices.length || maps.length !== devices.length) return;
    const size = sizeOf(tier), list = devices.join(", ");
    board.arrange(tier, (metric) => {
      if (mode === "mean" || devices.length === 1) {
        const together = merged(maps, metric), { data, gaps, points } = columns(together, metric, size);
        return [data, [{ label: devices.length > 1 ? `mean of ${devices.length}` : "mean", shade: "--accent" }], `${titleOf(metric)} of ${list} together: mean with minimum and maximum, ${points} windows of ${tier}, ${gaps === 1 ? "1 gap" : `${gaps} gaps`}. The table below has the values.`,
          [{ device: devices.join(" "), tier, windows: together }]];
      }
      const told = devices.map((name, i) => `${name} ${columns(maps[i], metric, size).points}`).join(", ");
      return [joined(maps, metric, size), devices.map((name, i) => ({ label: name, ...shadeOf(i) })), `${titleOf(metric)}: mean of each device, windows of ${tier}: ${told}. The table below has the values.`,
        devices.map((name, i) => ({ device: name, tier, windows: maps[i] }))];
    });
  }

  let timer = 0;
  const ticking = setInterval(() => { if (board.isLive()) board.follow(); }, 1000);
  const refreshing = setInterval(() => { if (board.isLive() && devices.length) load(); }, 30000);
  begin();
  return {
    devices(changed) {
      if (timer || !changed.some((one) => devices.includes(one.device))) return;
      timer = setTimeout(() => { timer = 0; more(); }, 1000);
    },
    back: begin,
    redraw() { board.forget(); controls(); draw(); },
    leave() { clearInterval(ticking); clearInterval(refreshing); clearTimeout(timer); asked = -1; board.clear(); },
  };
}
