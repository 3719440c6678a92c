// The fleet: figures, filters, and a table that asks the server for a page at a time.
import { ago, count, duration, get, h, setUnits, spark, state, value } from "./dom.js";

const PAGE = 50;
const SHOWN = 4;
const COLUMNS = [["device", "Device"], ["status", "Status"], ["last_seen", "Last heard"]];

export function fleetView(main, live) {
  const query = { search: "", group: "", type: "", status: "", sort: "device", order: "asc", offset: 0 };
  const tiles = h("dl", { class: "tiles", "aria-label": "Fleet in figures" });
  const body = h("tbody");
  const heads = COLUMNS.map(([key, label]) =>
    h("th", { scope: "col", "data-key": key }, h("button", { type: "button", onclick: () => sortBy(key) }, label)));
  const pages = h("p", { role: "status", "aria-live": "polite" });
  const previous = h("button", { type: "button", onclick: () => turn(-1) }, "Previous");
  const next = h("button", { type: "button", onclick: () => turn(1) }, "Next");
  const groups = choice("group", "All groups"), types = choice("type", "All types");
  const states = choice("status", "Any status", ["online", "late", "silent", "new"]);
  const search = h("input", { type: "search", placeholder: "Part of a name", autocomplete: "off", oninput: typed });
  let timer = 0, asked = 0, rows = new Map(), skew = 0;

  main.append(
    h("h1", {}, "Fleet"), h("p", { class: "lead" }, "Every device, and how the stream keeps up with them."),
    tiles,
    h("section", { class: "card", "aria-label": "Devices" },
      h("div", { class: "controls" },
        h("label", {}, "Search", search), h("label", { class: "half" }, "Group", groups),
        h("label", { class: "half" }, "Type", types), h("label", {}, "Status", states)),
      h("div", { class: "scroll" },
        h("table", {},
          h("thead", {}, h("tr", {}, heads[0], heads[1], heads[2],
            h("th", { scope: "col" }, "Last values"),
            h("th", { scope: "col", class: "wide" }, "Trend"),
            h("th", { scope: "col", class: "wide" }, "Group"), h("th", { scope: "col", class: "wide" }, "Type"))),
          body)),
      h("div", { class: "pager" }, pages, previous, next)));

  function choice(key, all, values = []) {
    const select = h("select", { onchange: (event) => { query[key] = event.target.value; first(); } },
      h("option", { value: "" }, all), values.map((one) => h("option", { value: one }, one)));
    select.dataset.all = all;
    return select;
  }

  function fill(select, values) {
    const have = [...select.options].slice(1).map((option) => option.value);
    if (have.join("\n") === values.join("\n")) return;
    const chosen = select.value;
    select.replaceChildren(h("option", { value: "" }, select.dataset.all), ...values.map((one) => h("option", { value: one }, one)));
    select.value = values.includes(chosen) ? chosen : "";
  }

  function typed() {
    clearTimeout(timer);
    timer = setTimeout(() => { query.search = search.value.trim(); first(); }, 150);
  }
  function first() { query.offset = 0; load(); }
  function turn(by) { query.offset = Math.max(0, query.offset + by * PAGE); load(); }
  function sortBy(key) {
    query.order = query.sort === key && query.order === "asc" ? "desc" : "asc";
    query.sort = key;
    first();
  }

  async function load() {
    const mine = ++asked;
    try {
      const page = await get(`api/v1/devices?${new URLSearchParams({ ...query, limit: PAGE })}`);
      if (mine !== asked) return;
      draw(page);
      live.watch(page.devices.map((row) => row.device));
    } catch (error) {
      if (mine !== asked) return;
      body.replaceChildren(h("tr", {}, h("td", { colspan: 7, class: "notice bad" }, error.message)));
      live.watch([]);
    }
  }

  function draw(page) {
    rows = new Map();
    for (const head of heads) {
      const mine = head.dataset.key === query.sort;
      head.setAttribute("aria-sort", mine ? (query.order === "asc" ? "ascending" : "descending") : "none");
    }
    body.replaceChildren(...page.devices.map((device) => {
      const row = h("tr", { "data-device": device.device });
      rows.set(device.device, { row, device });
      show(row, device);
      return row;
    }));
    if (!page.devices.length) {
      const why = page.total || query.search || query.group || query.type || query.status
        ? "No device matches." : "No device yet: they appear here as soon as they are created or heard.";
      body.append(h("tr", {}, h("td", { colspan: 7, class: "empty" }, why)));
    }
    const last = page.offset + page.devices.length;
    pages.textContent = page.total ? `${count(page.offset + 1)}–${count(last)} of ${count(page.total)}` : "";
    previous.disabled = page.offset === 0;
    next.disabled = last >= page.total;
  }

  function show(row, device) {
    const metrics = Object.entries(device.metrics);
    row.replaceChildren(
      h("td", { class: "name" }, h("a", { href: `#/device/${encodeURIComponent(device.device)}` }, device.device)),
      h("td", {}, state(device.status)),
      h("td", {}, ago(device.last_seen, Date.now() + skew)),
      h("td", {}, h("div", { class: "values" },
        metrics.slice(0, SHOWN).map(([name, one]) => h("span", {}, h("b", {}, name), value(name, one.v))),
        metrics.length > SHOWN ? h("span", {}, `+${metrics.length - SHOWN}`) : null)),
      h("td", { class: "wide" }, spark(device.spark ?? [])),
      h("td", { class: "wide" }, device.group), h("td", { class: "wide" }, device.type));
  }

  function figures(summary) {
    skew = summary.at - Date.now();
    setUnits(summary.units);
    const lags = Object.values(summary.lag_ms), lag = lags.length ? Math.max(...lags) : null;
    const rejected = Object.entries(summary.rejected), total = rejected.reduce((sum, [, n]) => sum + n, 0);
    const { devices, latency_ms: latency } = summary;
    const tile = (label, text, small) => h("div", { class: "tile" }, h("dt", {}, label), h("dd", {}, text, small ? h("small", {}, ` ${small}`) : null));
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
      tile("Rejected", count(total), rejected.slice(0, 2).map(([name, n]) => `${count(n)} ${name.replaceAll("_", " ")}`).join(", ")));
    fill(groups, summary.groups);
    fill(types, summary.types);
  }

  const ticking = setInterval(() => {
    for (const { row, device } of rows.values()) row.children[2].textContent = ago(device.last_seen, Date.now() + skew);
  }, 1000);
  const refreshing = setInterval(load, 15000);
  load();
  get("api/v1/summary").then(figures).catch(() => {});

  return {
    summary(summary) {
      const known = tiles.dataset.total;
      tiles.dataset.total = summary.devices.total;
      figures(summary);
      if (known !== undefined && known !== tiles.dataset.total) load();
    },
    devices(changed) {
      for (const device of changed) {
        const known = rows.get(device.device);
        if (known) { known.device = device; show(known.row, device); }
      }
    },
    back: load,
    leave() { clearInterval(ticking); clearInterval(refreshing); clearTimeout(timer); asked = -1; },
  };
}
