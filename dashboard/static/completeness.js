// Which numbers of a device's readings are there, from the ids that its windows hold: exact when none
// is missing between the first and the last, late while some are.
import { count, get, h } from "./dom.js";
import { between } from "./time.js";

export const missingOf = (device, tier, [from, to]) => get(`api/v1/devices/${encodeURIComponent(device)}/missing?${new URLSearchParams({ tier, from: Math.floor(from), to: Math.floor(to) })}`);

// Sums over the boots of an answer: how many numbers are there, and how many are missing in between.
function verdict(boots) {
  const add = (key) => Object.values(boots).reduce((sum, one) => sum + one[key], 0);
  const present = add("present"), missing = add("missing");
  return { present, missing, word: !present ? "nothing" : missing ? "late" : "exact" };
}

// The verdict as a word with a color that is not all that tells.
function mark({ word, missing }) {
  const text = { exact: "exact", late: `late: ${count(missing)} missing`, nothing: "no readings" }[word];
  return h("span", { class: `state ${{ exact: "online", late: "late", nothing: "none" }[word]}` }, text);
}

const gapsOf = ({ gaps }) => gaps.slice(0, 8).map(([a, b]) => (a === b ? a : `${a}–${b}`)).join(", ") + (gaps.length > 8 ? ", …" : "");

// The card of one device.
export function completenessCard() {
  const body = h("div"), card = h("section", { class: "card", "aria-label": "Completeness" }, h("h2", {}, "Completeness"), body);

  function draw({ boots, from, to, tier }) {
    const all = Object.entries(boots), sum = verdict(boots);
    const what = {
      exact: `Every number between the first and the last of each boot is in the windows, once: ${count(sum.present)} readings.`,
      late: `${count(sum.present)} readings are there, ${count(sum.missing)} numbers in between are not. The device may still send them; what was rejected is under Not folded.`,
      nothing: "No reading in this span.",
    }[sum.word];
    body.replaceChildren(h("p", {}, mark(sum), ` · ${what}`), h("p", { class: "note" }, `Checked against the ids in the windows of ${tier}, ${between(from, to)}.`));
    if (!all.length) return;
    const lines = all.map(([boot, one]) => h("tr", {}, h("td", {}, h("code", {}, boot)), h("td", {}, `${one.first} – ${one.last}`), h("td", {}, count(one.present)),
      h("td", {}, one.missing ? `${count(one.missing)}: ${gapsOf(one)}` : "none")));
    body.append(h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Sequence numbers" }, h("table", {}, h("caption", {}, "Sequence numbers by boot, within the span"),
      h("thead", {}, h("tr", {}, ["Boot", "From – to", "There", "Missing"].map((one) => h("th", { scope: "col" }, one)))), h("tbody", {}, lines))));
  }
  return { card, draw };
}
