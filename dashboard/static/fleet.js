// The fleet, or a group or type of it: figures, filters, and a table that asks the server for a page
// at a time. What is filtered, sorted and ticked is in the link.
import { trendCharts } from "./charts/trends.js";
import { count, duration, get, h, setUnits, value } from "./dom.js";
import { keep, stateOf } from "./link.js";
import { MOST, aggregates, deviceRow } from "./rows.js";

const PAGE = 50;
const COLUMNS = [["device", "Device"], ["status", "Status"], ["last_seen", "Last heard"]];
const STATES = ["online", "late", "silent", "new"];
const DEFAULTS = { search: "", group: "", type: "", status: "", sort: "device", order: "asc", offset: 0, compare: [] };

export const fleetView = (main, live, _, query) => devicesView(main, live, query, null, "");
export const groupView = (main, live, name, query) => devicesView(main, live, query, "group", name);
export const typeView = (main, live, name, query) => devicesView(main, live, query, "type", name);

// `kind` is "group" or "type" where the view is of the devices of one.
function devicesView(main, live, query, kind, name) {
  const path = kind ? `${kind}/${encodeURIComponent(name)}` : "";
  let state = stateOf(query, DEFAULTS);
  if (!STATES.includes(state.status)) state.status = "";
  const tiles = h("dl", { class: "tiles", "aria-label": kind ? "Devices by status" : "Fleet in figures" });
  const body = h("tbody"), sums = h("section", { class: "card", "aria-label": "Values", hidden: true });
  const heads = COLUMNS.map(([key, label]) =>
    h("th", { scope: "col", "data-key": key }, h("button", { type: "button", onclick: () => sortBy(key) }, label)));
  const head = (text, wide) => h("th", { scope: "col", class: wide ? "wide" : null }, text);
  const pages = h("p", { role: "status", "aria-live": "polite" });
  const previous = h("button", { type: "button", onclick: () => turn(-1) }, "Previous");
  const next = h("button", { type: "button", onclick: () => turn(1) }, "Next");
  const choices = Object.fromEntries([["group", "All groups", []], ["type", "All types", []], ["status", "Any status", STATES]].map(([key, all, values]) => [key, choice(key, all, values)]));
  const search = h("input", { type: "search", placeholder: "Part of a name", autocomplete: "off", value: state.search, oninput: typed });
  const picked = h("div", { class: "controls" }), trends = kind ? null : trendCharts();
  let timer = 0, asked = 0, rows = new Map(), skew = 0, shown = 0, total = 0;

  main.append(
    ...(kind ? [h("p", {}, h("a", { href: "#/" }, "← Fleet"))] : []),
    h("h1", {}, kind ? `${kind === "group" ? "Group" : "Type"} ${name}` : "Fleet"),
    h("p", { class: "lead" }, kind ? `The devices of this ${kind}, and what they say together.` : "Every device, and how the stream keeps up with them."),
    tiles, trends ? trends.element : sums,
    h("section", { class: "card", "aria-label": "Devices" },
      h("div", { class: "controls" }, h("label", {}, "Search", search),
        ...[["group", "Group", "half"], ["type", "Type", "half"], ["status", "Status", null]].filter(([key]) => key !== kind)
          .map(([key, label, size]) => h("label", { class: size }, label, choices[key]))),
      picked,
      h("div", { class: "scroll" }, h("table", {},
        h("thead", {}, h("tr", {}, heads, head("Last values"), head("Trend", true), head("Group", true), head("Type", true), head("Compare"))), body)),
      h("div", { class: "pager" }, pages, previous, next)));

  function choice(key, all, values) {
    const select = h("select", { onchange: () => change({ [key]: select.value, offset: 0 }) });
    select.dataset.all = all;
    fill(select, values, state[key]);
    return select;
  }
  // What a link asks for is a choice even where no device has it.
  function fill(select, values, chosen) {
    const wanted = chosen && !values.includes(chosen) ? [...values, chosen] : values;
    if ([...select.options].slice(1).map((one) => one.value).join("\n") !== wanted.join("\n") || !select.options.length)
      select.replaceChildren(h("option", { value: "" }, select.dataset.all), ...wanted.map((one) => h("option", { value: one }, one)));
    select.value = chosen;
  }

  function typed() {
    clearTimeout(timer);
    timer = setTimeout(() => change({ search: search.value.trim(), offset: 0 }), 150);
  }
  function change(more) { state = { ...state, ...more }; keep(path, state, DEFAULTS); load(); }
  function turn(by) { change({ offset: Math.max(0, state.offset + by * PAGE) }); }
  function sortBy(key) { change({ order: state.sort === key && state.order === "asc" ? "desc" : "asc", sort: key, offset: 0 }); }

  function asking(more) {
    const { search: text, group, type, status, sort, order, offset } = state;
    return `api/v1/devices?${new URLSearchParams({ search: text, group, type, status, sort, order, offset, limit: PAGE, ...(kind ? { [kind]: name } : {}), ...more })}`;
  }

  async function load() {
    const mine = ++asked;
    try {
      const page = await get(asking());
      if (mine !== asked) return;
      draw(page);
      live.watch(page.devices.map((row) => row.device));
      if (kind) await counts(mine);
    } catch (error) {
      if (mine !== asked) return;
      rows = new Map();
      body.replaceChildren(h("tr", {}, h("td", { colspan: 8, class: "notice bad" }, error.message)));
      live.watch([]);
    }
  }

  const tile = (label, text, small) => h("div", { class: "tile" }, h("dt", {}, label), h("dd", {}, text, small ? h("small", {}, ` ${small}`) : null));

  // How many devices of the group or type have each status, all of them and not this page's.
  async function counts(mine) {
    const all = { search: "", group: "", type: "", [kind]: name, offset: 0, limit: 1 };
    const found = await Promise.all(["", ...STATES].map(async (status) => (await get(asking({ ...all, status }))).total));
    if (mine !== asked) return;
    tiles.replaceChildren(tile("Online", count(found[1]), `of ${count(found[0])}`), tile("Late", count(found[2])), tile("Silent", count(found[3])), tile("Never heard", count(found[4])));
  }

  function draw(page) {
    for (const one of heads) {
      const mine = one.dataset.key === state.sort;
      one.setAttribute("aria-sort", mine ? (state.order === "asc" ? "ascending" : "descending") : "none");
    }
    const before = rows, names = page.devices.map((one) => one.device);
    rows = new Map(page.devices.map((device) => {
      const row = before.get(device.device) ?? deviceRow(device, state.compare.includes(device.device), pick);
      row.show(device);
      row.tick(Date.now() + skew);
      return [device.device, row];
    }));
    // A refresh that finds the same devices moves no row, so the focus stays where it is.
    if (!names.length || names.join() !== [...before.keys()].join()) {
      const held = document.activeElement;
      body.replaceChildren(...[...rows.values()].map((one) => one.row));
      if (body.contains(held)) held.focus();
    }
    if (!names.length) {
      const why = page.total || state.search || state.group || state.type || state.status || kind
        ? "No device matches." : "No device yet: they appear here as soon as they are created or heard.";
      body.append(h("tr", {}, h("td", { colspan: 8, class: "empty" }, why)));
    }
    shown = names.length;
    total = page.total;
    const last = page.offset + shown;
    pages.textContent = total ? `${count(page.offset + 1)}–${count(last)} of ${count(total)}` : "";
    previous.disabled = page.offset === 0;
    next.disabled = last >= total;
    drawPicked();
    drawSums();
  }

  function pick(device, chosen) {
    state = { ...state, compare: chosen ? [...state.compare, device] : state.compare.filter((one) => one !== device) };
    keep(path, state, DEFAULTS);
    drawPicked();
  }
  function drawPicked() {
    const chosen = state.compare, full = chosen.length >= MOST, all = [...rows.keys()].slice(0, MOST);
    for (const { box } of rows.values()) box.disabled = full && !box.checked;
    const link = (devices, text, more = {}) => h("a", { class: "button", href: `#/compare?${new URLSearchParams({ devices: devices.join(), ...more })}` }, text);
    const parts = chosen.length
      ? [link(chosen, `Compare ${count(chosen.length)} ${chosen.length === 1 ? "device" : "devices"}`), h("button", { type: "button", onclick: none }, "Untick all")]
      : kind && all.length ? [link(all, `Chart of ${all.length === 1 ? "this device" : `${total > all.length ? "the first" : "these"} ${all.length} devices`}, and of their mean`, { show: "mean" })] : [];
    const now = `${chosen}|${all}`;
    if (picked.dataset.shown === now) return;
    picked.dataset.shown = now;
    picked.replaceChildren(...parts, h("span", { class: "hint" }, chosen.length ? (full ? `${MOST} devices fit on one chart.` : "") : `Tick up to ${MOST} devices to compare them on one chart.`));
  }
  function none() {
    state = { ...state, compare: [] };
    for (const { box } of rows.values()) box.checked = false;
    keep(path, state, DEFAULTS);
    drawPicked();
    picked.querySelector("a, button")?.focus();
  }

  function drawSums() {
    const found = kind ? aggregates([...rows.values()].map((one) => one.device())) : [];
    sums.hidden = !found.length;
    if (!found.length) return;
    const which = shown === total ? `all ${count(total)} devices that are listed below` : `the ${count(shown)} devices on this page, not all ${count(total)}: a page does not read them all`;
    sums.replaceChildren(h("h2", {}, "Last values together"), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Last values together" }, h("table", {},
      h("caption", {}, `Over ${which}`),
      h("thead", {}, h("tr", {}, ["Metric", "Devices", "Mean", "Least", "Greatest"].map((one) => head(one)))),
      h("tbody", {}, found.map((one) => h("tr", { "data-sum": one.name }, h("td", {}, one.name), h("td", {}, count(one.n)), [one.mean, one.min, one.max].map((v) => h("td", {}, value(one.name, v)))))))));
  }

  function figures(summary) {
    skew = summary.at - Date.now();
    setUnits(summary.units);
    fill(choices.group, summary.groups, state.group);
    fill(choices.type, summary.types, state.type);
    if (kind) return;
    const lags = Object.values(summary.lag_ms), lag = lags.length ? Math.max(...lags) : null;
    const rejected = Object.entries(summary.rejected), sum = rejected.reduce((all, [, n]) => all + n, 0);
    const { devices, latency_ms: latency } = summary;
    tiles.replaceChildren(
      tile("Online", count(devices.online), `of ${count(devices.total)}`),
      tile("Late", count(devices.late)), tile("Silent", count(devices.silent)),
      // Who sees some groups only has no figures of the workers: they are of all groups.
      ...(summary.workers === null ? [] : [
        tile("Messages", count(summary.messages_per_s), "a second"),
        tile("Readings", count(summary.readings_per_s), "a second"),
        tile("Device to hot store", duration(latency.p50), latency.p99 === null ? "" : `p99 ${duration(latency.p99)}`),
        tile("Lag", lag === 0 ? "none" : duration(lag), `${count(lags.length)} shards, ${count(summary.workers)} ${summary.workers === 1 ? "worker" : "workers"}`),
      ]),
      tile("Rejected", count(sum), rejected.slice(0, 2).map(([word, n]) => `${count(n)} ${word.replaceAll("_", " ")}`).join(", ")));
  }

  const ticking = setInterval(() => { for (const row of rows.values()) row.tick(Date.now() + skew); }, 1000);
  const refreshing = setInterval(load, 15000);
  load();
  get("api/v1/summary").then((found) => { if (asked >= 0) { figures(found); drawSums(); } }).catch(() => {});

  return {
    summary(summary) {
      const known = tiles.dataset.total;
      tiles.dataset.total = summary.devices.total;
      figures(summary);
      if (known !== undefined && known !== tiles.dataset.total) load();
    },
    devices(changed) {
      for (const device of changed) rows.get(device.device)?.show(device);
      drawSums();
    },
    back: load,
    redraw() { trends?.redraw(); },
    leave() { clearInterval(ticking); clearInterval(refreshing); clearTimeout(timer); asked = -1; trends?.leave(); },
  };
}
