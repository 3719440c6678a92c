// Times as text, by one clock for the whole page: UTC or this browser's own, as the reader chose.
const KEY = "clock";
let local = read();

function read() { try { return localStorage.getItem(KEY) === "local"; } catch { return false; } }

export const isLocal = () => local;

export function setLocal(wanted) {
  local = wanted;
  try { localStorage.setItem(KEY, wanted ? "local" : "utc"); } catch { /* a private window */ }
}

const two = (number) => String(number).padStart(2, "0");

// The calendar's parts of a time (ms) by the page's clock.
function parts(ms) {
  const at = new Date(ms);
  return local
    ? [at.getFullYear(), at.getMonth() + 1, at.getDate(), at.getHours(), at.getMinutes(), at.getSeconds()]
    : [at.getUTCFullYear(), at.getUTCMonth() + 1, at.getUTCDate(), at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()];
}

// How far this browser's clock is from UTC at a time, as "UTC+02:00"; it changes with the season.
export function zone(ms = Date.now()) {
  if (!local) return "UTC";
  const minutes = -new Date(ms).getTimezoneOffset(), size = Math.abs(minutes);
  return `UTC${minutes < 0 ? "−" : "+"}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

export function day(ms) {
  const [year, month, date] = parts(ms);
  return `${year}-${two(month)}-${two(date)}`;
}

export function timeOfDay(ms, seconds = true) {
  const [, , , hour, minute, second] = parts(ms);
  return `${two(hour)}:${two(minute)}${seconds ? `:${two(second)}` : ""}`;
}

export function clock(ms) {
  return ms === null || ms === undefined ? "–" : `${day(ms)} ${timeOfDay(ms)} ${zone(ms)}`;
}

// A span in words; the day of its end is said only when it is another one.
export function between(from, to) {
  const end = day(from) === day(to) ? timeOfDay(to) : `${day(to)} ${timeOfDay(to)}`;
  return `${day(from)} ${timeOfDay(from)} to ${end} ${zone(to)}`;
}

// For uPlot: the date whose local parts are the page's clock's, from seconds.
export function plotDate(seconds) {
  const at = new Date(seconds * 1e3);
  return local ? at : uPlot.tzDate(at, "Etc/UTC");
}

// For uPlot's axis: 24-hour times; a day's name where it begins, and at the first tick.
export function ticks(_, splits, __, ___, step) {
  let before = "";
  return splits.map((seconds) => {
    const ms = seconds * 1e3, date = day(ms), fresh = date !== before;
    before = date;
    if (step >= 86400) return date.slice(5);
    const text = timeOfDay(ms, step < 60);
    return fresh ? `${text}\n${date.slice(5)}` : text;
  });
}
