// A chart as a file: its values as CSV, its picture as PNG.
import { h } from "../dom.js";
import { zone } from "../time.js";

function give(name, blob) {
  const address = URL.createObjectURL(blob);
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

const named = (parts, end) => `${parts.join("-").replaceAll(/[^A-Za-z0-9_.]+/g, "-")}.${end}`;

// A cell that a spreadsheet does not take for a formula (OWASP: CSV injection).
function cell(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value ?? "");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const HEADS = ["window_start_utc", "device", "tier", "metric", "n", "mean", "min", "max", "stddev", "first", "last"];

// One row a window, oldest first, with times in UTC whatever the page shows.
export function csv(series, metric) {
  const rows = series.flatMap(({ device, tier, windows }) => [...windows.entries()].sort((a, b) => a[0] - b[0])
    .filter(([, one]) => one.metrics[metric])
    .map(([at, one]) => { const m = one.metrics[metric]; return [new Date(at).toISOString(), device, tier, metric, m.n, m.mean, m.min, m.max, m.stddev, m.first, m.last]; }));
  return `${[HEADS, ...rows].map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

export function saveCsv(series, metric) {
  give(named([...series.map((one) => one.device).slice(0, 3), metric], "csv"), new Blob([csv(series, metric)], { type: "text/csv" }));
}

// The canvas of a chart on the card's ground, under a title and over the clock that its axis uses.
export function savePng(plot, title, lines) {
  const css = getComputedStyle(document.documentElement), color = (key) => css.getPropertyValue(key).trim();
  const scale = devicePixelRatio, from = plot.ctx.canvas, head = (34 + lines.length * 18) * scale;
  const canvas = h("canvas", { width: from.width + 24 * scale, height: from.height + head + 12 * scale }), ctx = canvas.getContext("2d");
  ctx.fillStyle = color("--card");
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.fillStyle = color("--ink");
  ctx.font = `600 ${15 * scale}px system-ui, sans-serif`;
  ctx.fillText(title, 14 * scale, 24 * scale);
  ctx.font = `${12 * scale}px system-ui, sans-serif`;
  for (const [i, { text, shade }] of lines.entries()) { ctx.fillStyle = shade ?? color("--soft"); ctx.fillText(text, 14 * scale, (44 + i * 18) * scale); }
  ctx.drawImage(from, 12 * scale, head);
  canvas.toBlob((blob) => give(named([title, zone()], "png"), blob), "image/png");
}
