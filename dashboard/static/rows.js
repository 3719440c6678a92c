// The table of devices: a row for each, which changes in place, so that what has the focus keeps it.
import { ago, h, spark, state, value } from "./dom.js";

const SHOWN = 4;
export const MOST = 8;

// One row; pick(device, chosen) is called when its box is ticked.
export function deviceRow(first, isPicked, pick) {
  const cell = (name) => h("td", name ? { class: name } : {});
  const status = cell(), heard = cell(), values = h("div", { class: "values" }), trend = cell("wide"), group = cell("wide"), type = cell("wide");
  const box = h("input", { type: "checkbox", checked: isPicked, "aria-label": `Compare ${first.device}`, onchange: () => pick(first.device, box.checked) });
  const row = h("tr", { "data-device": first.device },
    h("td", { class: "name" }, h("a", { href: `#/device/${encodeURIComponent(first.device)}` }, first.device)),
    status, heard, h("td", {}, values), trend, group, type, h("td", { class: "pick" }, box));
  let device = first;

  function show(now) {
    device = now;
    const metrics = Object.entries(device.metrics), more = metrics.length - SHOWN;
    status.replaceChildren(state(device.status));
    values.replaceChildren(...metrics.slice(0, SHOWN).map(([name, one]) => h("span", {}, h("b", {}, name), value(name, one.v))), ...(more > 0 ? [h("span", {}, `+${more}`)] : []));
    trend.replaceChildren(spark(device.spark ?? []));
    place(group, "group", device.group);
    place(type, "type", device.type);
  }
  // A link is made anew only when it leads elsewhere.
  function place(element, kind, name) {
    if (element.textContent !== name) element.replaceChildren(name ? h("a", { href: `#/${kind}/${encodeURIComponent(name)}` }, name) : "");
  }
  show(first);
  return { row, box, show, device: () => device, tick(now) { heard.textContent = ago(device.last_seen, now); } };
}

// The least, mean and greatest of the last values of some devices, by metric.
export function aggregates(devices) {
  const found = new Map();
  for (const { metrics } of devices)
    for (const [name, { v }] of Object.entries(metrics)) found.set(name, [...found.get(name) ?? [], v]);
  return [...found.entries()].sort().map(([name, values]) => ({ name, n: values.length, min: Math.min(...values), max: Math.max(...values), mean: values.reduce((sum, v) => sum + v, 0) / values.length }));
}
