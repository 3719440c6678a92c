// A device's windows: read page by page, and turned into the columns of a chart.
import { get } from "../dom.js";
import { finest, sizeOf } from "./span.js";

async function read(device, tier, from, to) {
  const found = new Map();
  let cursor = null;
  do {
    const query = new URLSearchParams({ tier, from: Math.floor(from), to: Math.floor(to), limit: 1500 });
    if (cursor) query.set("cursor", cursor);
    const page = await get(`api/v1/devices/${encodeURIComponent(device)}/windows?${query}`);
    for (const one of page.windows) found.set(Date.parse(one.start), one);
    cursor = page.cursor;
  } while (cursor);
  return found;
}

// The windows of devices in a span, a map by start (ms) for each, and the tier that they are of.
// Without a tier that was chosen it is the finest that fits; where that is no longer kept, the next
// one that has anything. The API gives the window that begins before the span and reaches into it too.
export async function windowsOf(devices, tiers, chosen, [from, to]) {
  const wanted = chosen ? [chosen] : tiers.slice(tiers.indexOf(finest(tiers, [from, to])));
  for (const tier of wanted) {
    const found = await Promise.all(devices.map((one) => read(one, tier, from, to)));
    if (found.some((windows) => windows.size) || tier === wanted.at(-1)) return { tier, found };
  }
  return { tier: "", found: devices.map(() => new Map()) };
}

// Live: put what is newer than the newest window of each device into its map, and take out what
// the span has left behind.
export async function append(devices, maps, tier, [from, to]) {
  const size = sizeOf(tier);
  await Promise.all(maps.map(async (windows, i) => {
    const newest = Math.max(0, ...windows.keys());
    for (const [at, one] of await read(devices[i], tier, Math.max(newest, from) - size, to)) windows.set(at, one);
    for (const at of windows.keys()) if (at <= from - size) windows.delete(at);
  }));
}

// The metrics that are in any of these maps of windows.
export const metricsOf = (maps) => [...new Set(maps.flatMap((windows) => [...windows.values()].flatMap((one) => Object.keys(one.metrics))))].sort();

// A line is broken where a window comes later than this many times the usual step: the usual step is
// the median, because a device may report less often than a window lasts.
const GAP = 1.5;
// For uPlot.join: a null of a series stays a gap, also where other series have values around it.
const GAPS_STAY = 2;

// Where the windows of a metric begin (ms, ascending), their usual step, and before which there is a gap.
function runs(windows, metric, size) {
  const starts = [...windows.keys()].filter((at) => windows.get(at).metrics[metric]).sort((a, b) => a - b);
  const steps = starts.slice(1).map((at, i) => at - starts[i]).sort((a, b) => a - b);
  const usual = Math.max(size, steps[Math.floor(steps.length / 2)] ?? size);
  return { starts, usual, gap: (i) => i > 0 && starts[i] - starts[i - 1] > GAP * usual };
}

// [seconds, max, min, mean] for uPlot, and how many gaps there are: null where windows are missing.
export function columns(windows, metric, size) {
  const { starts, usual, gap } = runs(windows, metric, size);
  const data = [[], [], [], []];
  let gaps = 0;
  const push = (at, ...values) => [at / 1e3, ...values].forEach((value, i) => data[i].push(value));
  for (const [i, at] of starts.entries()) {
    if (gap(i)) { push(starts[i - 1] + usual, null, null, null); gaps += 1; }
    const one = windows.get(at).metrics[metric];
    push(at, one.max, one.min, one.mean);
  }
  return { data, gaps, points: starts.length };
}

// The windows of several devices as those of one: sums, least and greatest of what each has.
export function merged(maps, metric) {
  const starts = [...new Set(maps.flatMap((windows) => [...windows.keys()]))].sort((a, b) => a - b), found = new Map();
  for (const at of starts) {
    const parts = maps.map((windows) => windows.get(at)?.metrics[metric]).filter((one) => one);
    if (!parts.length) continue;
    const n = parts.reduce((sum, one) => sum + one.n, 0), mean = parts.reduce((sum, one) => sum + one.mean * one.n, 0) / n;
    const spread = parts.reduce((sum, one) => sum + one.n * (one.stddev ** 2 + (one.mean - mean) ** 2), 0);
    found.set(at, { metrics: { [metric]: { n, mean, min: Math.min(...parts.map((one) => one.min)), max: Math.max(...parts.map((one) => one.max)), stddev: Math.sqrt(spread / n) } } });
  }
  return found;
}

// The means of several devices on one axis: a column of seconds, then one of each device.
export function joined(maps, metric, size) {
  const tables = maps.map((windows) => columns(windows, metric, size).data).map(([x, , , mean]) => [x, mean]);
  return uPlot.join(tables, tables.map(() => [0, GAPS_STAY]));
}
