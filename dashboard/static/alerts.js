// Alerts: those that are open, and what happened before.
import { actButtons } from "./acts.js";
import { ago, get, h } from "./dom.js";
import { clock, day, timeOfDay, zone } from "./time.js";

const SPANS = [["", "Any time"], [3600e3, "Last hour"], [86400e3, "Last day"], [7 * 86400e3, "Last 7 days"]];
const FILTERS = ["device", "rule", "severity", "span"];
const PAGE = 50;

// Symbol and word: the color is never all that tells.
export function severity(word) {
  return h("span", { class: `severity ${word}` }, word);
}

// What stands for a group is named so, where a device's name is expected.
export function subject(name, at, back) {
  if (name.startsWith("#group/")) return h("span", {}, `group ${name.slice(7)}`);
  const query = new URLSearchParams({ ...(at ? { at } : {}), back });
  return h("a", { href: `#/device/${encodeURIComponent(name)}?${query}` }, name);
}

export function alertsView(main, live, _, asked) {
  const view = { tab: asked.get("tab") === "history" ? "history" : "open" };
  for (const key of FILTERS) view[key] = asked.get(key) ?? "";
  const body = h("div"), more = h("button", { type: "button", onclick: () => load(true) }, "Show more");
  const tabs = h("div", { class: "group", role: "group", "aria-label": "Which alerts" });
  const filters = h("div", { class: "controls" });
  const said = h("p", { role: "status", "aria-live": "polite", class: "note" });
  let cursor = null, rows = [], turn = 0, timer = 0, page = {};

  main.append(h("h1", {}, "Alerts"), h("p", { class: "lead" }, "What the rules say of the devices, by their finished windows. Times are by the devices' clocks."),
    h("div", { class: "controls" }, tabs), said,
    h("section", { class: "card", "aria-label": "Alerts" }, filters, body, h("div", { class: "pager" }, more)));

  function address() {
    const kept = Object.entries(view).filter(([key, value]) => value && !(key === "tab" && value === "open"));
    return `#/alerts${kept.length ? `?${new URLSearchParams(kept)}` : ""}`;
  }
  function change(key, value) {
    view[key] = value;
    history.replaceState(null, "", address());
    controls();
    load();
  }
  function controls() {
    tabs.replaceChildren(...[["open", "Open now"], ["history", "History"]].map(([key, label]) => h("button", {
      type: "button", "aria-pressed": String(view.tab === key), onclick: () => { change("tab", key); tabs.querySelector('[aria-pressed="true"]').focus(); },
    }, label)));
    filters.hidden = view.tab === "open";
  }
  function fields() {
    const typed = (key, label) => h("label", { class: "half" }, label, h("input", { type: "search", value: view[key], autocomplete: "off",
      onchange: (event) => change(key, event.target.value.trim()) }));
    const choice = (key, label, options) => h("label", { class: "half" }, label, h("select", { onchange: (event) => change(key, event.target.value) },
      options.map(([value, text]) => h("option", { value, selected: String(value) === view[key] }, text))));
    filters.append(typed("device", "Device, its whole name"), typed("rule", "Rule, its whole name"),
      choice("severity", "Severity", [["", "Any severity"], ...["critical", "warning", "info"].map((one) => [one, one])]), choice("span", "Window", SPANS));
  }

  async function load(further = false) {
    const mine = ++turn, query = new URLSearchParams({ limit: PAGE });
    if (further && cursor) query.set("cursor", cursor);
    if (view.tab === "history") {
      for (const key of ["device", "rule", "severity"]) if (view[key]) query.set(key, view[key]);
      if (view.span) query.set("from", Date.now() - Number(view.span));
    }
    try {
      page = await get(`api/v1/alerts${view.tab === "history" ? "/history" : ""}?${query}`);
    } catch (error) {
      if (mine !== turn) return;
      more.hidden = true;
      body.replaceChildren(h("p", { class: "notice bad", role: "alert" }, error.message));
      return;
    }
    if (mine !== turn) return;
    const found = view.tab === "history" ? page.transitions : page.alerts;
    rows = further ? [...rows, ...found] : found;
    cursor = page.cursor;
    more.hidden = !cursor;
    draw();
  }

  function draw() {
    if (view.tab === "history") body.replaceChildren(rows.length ? past() : h("p", { class: "empty" }, cursor ? "Nothing matches among the devices read so far." : "No alert matches."));
    else if (rows.length) openList();
    else body.replaceChildren(h("p", { class: "empty" }, "No alert is open."));
  }

  function openList() {
    const focused = document.activeElement?.dataset?.act;
    body.replaceChildren(h("ul", { class: "alerts" }, rows.map((one) => h("li", { "data-alert": `${one.rule} ${one.device}` },
      h("div", { class: "what" }, h("p", {}, severity(one.severity), " ", h("b", {}, subject(one.device, one.since, address()))), h("p", {}, one.text),
        h("p", { class: "note" }, `${one.rule} · since ${clock(one.since)}, ${ago(one.since, Date.now())}`)),
      h("p", { class: "standing" }, one.acknowledged ? `acknowledged by ${one.acknowledged}` : "open, not acknowledged",
        one.muted_until > Date.now() ? h("span", {}, h("br"), `muted until ${clock(one.muted_until)}`) : null),
      h("div", { class: "group" }, page.may_change ? actButtons(one, page.user, done) : null,
        h("a", { href: `#/alerts?${new URLSearchParams({ tab: "history", device: one.device, rule: one.rule })}`, "aria-label": `History of ${one.rule} on ${one.device}` }, "History"))))));
    if (focused) (body.querySelector(`[data-act="${CSS.escape(focused)}"]`) ?? main).focus();
  }

  function past() {
    return h("div", { class: "scroll" }, h("table", { class: "history" }, h("caption", {}, "The devices whose alerts changed last come first; up to 24 transitions of a rule and device are kept"),
      h("thead", {}, h("tr", {}, [`Window (${zone()})`, "What", "Device and rule"].map((one) => h("th", { scope: "col" }, one)))),
      h("tbody", {}, rows.map((one) => h("tr", {}, h("td", {}, [day(one.window), timeOfDay(one.window)].map((part) => h("span", { class: "part" }, `${part} `))),
        h("td", {}, severity(one.severity), " ", one.kind, one.stands ? null : " (withdrawn: late data)",
          one.by ? ` by ${one.by}` : null, one.until ? `, until ${clock(one.until)}` : null),
        h("td", {}, subject(one.device, one.window, address()), h("br"), h("small", {}, one.rule)))))));
  }

  function done(text) { said.textContent = text; load(); }

  fields();
  controls();
  load();
  live.watch([]);
  const refreshing = setInterval(() => { if (!document.querySelector("dialog[open]") && rows.length <= PAGE) load(); }, 30000);
  return {
    // A burst of changes asks once.
    alerts() { if (rows.length <= PAGE) { clearTimeout(timer); timer = setTimeout(load, 300); } },
    back: () => load(),
    redraw: draw,
    leave() { clearInterval(refreshing); clearTimeout(timer); turn = -1; },
  };
}
