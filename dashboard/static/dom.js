// Elements from values. Text is always text: nothing here parses markup.
import { request } from "./signin.js";

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

export function spark(values) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 96 24");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  if (values.length > 1) {
    const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("points", values.map((value, i) =>
      `${(i / (values.length - 1)) * 96},${22 - ((value - low) / span) * 20}`).join(" "));
    svg.append(line);
  }
  return svg;
}

let units = {};

// What the deployment says its metrics are measured in.
export function setUnits(known) {
  units = known;
}

export function unit(metric) {
  return Object.hasOwn(units, metric) ? units[metric] : "";
}

export function value(metric, number) {
  if (number === null || number === undefined) return "–";
  const text = Number.isInteger(number) ? String(number) : String(+number.toPrecision(5));
  return unit(metric) ? `${text} ${unit(metric)}` : text;
}

export function count(number) {
  return number === null || number === undefined ? "–" : number.toLocaleString("en");
}

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = ms / 1000;
  if (s < 90) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
}

export function ago(ms, now) {
  return ms === null || ms === undefined ? "never" : `${duration(Math.max(0, now - ms))} ago`;
}

export function state(word) {
  return h("span", { class: `state ${word}` }, word);
}

export async function get(path) {
  return answered(await request(path, { headers: { Accept: "application/json" } }));
}

export async function post(path, body) {
  return answered(await request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }));
}

async function answered(answer) {
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(body.error ?? `the server answered ${answer.status}`), { status: answer.status });
  return body;
}
