// The span of time that the charts of a view cover: the last so many minutes, or from one time to
// another; and the size of window that it is shown in.
import { duration, h } from "../dom.js";
import { between, isLocal, zone } from "../time.js";

export const SPANS = [["10 min", 600e3], ["1 h", 3600e3], ["6 h", 6 * 3600e3], ["1 d", 86400e3], ["7 d", 7 * 86400e3]];
export const SPAN = { span: 600e3, from: 0, to: 0, tier: "" };
const SIZES = { s: 1e3, m: 60e3, h: 3600e3, d: 86400e3 };
const MOST = 1500, SHORTEST = 10e3, LONGEST = 400 * 86400e3;

export const sizeOf = (tier) => parseInt(tier, 10) * SIZES[tier.at(-1)];

// The two ends (ms). A span with no end of its own ends now.
export function ends({ span, from, to }, now = Date.now()) {
  return to ? [from, to] : [now - span, now];
}

// The part of a span that was dragged over, no shorter than can be shown.
export function part(state, [from, to]) {
  const middle = (from + to) / 2, half = Math.max(SHORTEST, to - from) / 2;
  return { ...state, from: Math.round(middle - half), to: Math.round(middle + half) };
}

// A state whose span can be drawn, whatever the link said.
export function sane(state) {
  const whole = state.from > 0 && state.to - state.from >= SHORTEST && state.to - state.from <= LONGEST;
  const span = state.span >= SHORTEST && state.span <= LONGEST ? state.span : SPAN.span;
  return { ...state, span, ...(whole ? {} : { from: 0, to: 0 }) };
}

// The finest size of window of which the span has no more than can be told apart.
export function finest(tiers, [from, to]) {
  return tiers.find((tier) => (to - from) / sizeOf(tier) <= MOST) ?? tiers.at(-1);
}

// The span moved by a share of its length, or stretched by a factor around its middle.
export function moved(state, share, factor = 1, now = Date.now()) {
  const [from, to] = ends(state, now), middle = (from + to) / 2 + (to - from) * share;
  const half = Math.min(LONGEST, Math.max(SHORTEST, (to - from) * factor)) / 2;
  return middle + half >= now ? { ...state, span: Math.round(half * 2), from: 0, to: 0 }
    : { ...state, from: Math.round(middle - half), to: Math.round(middle + half) };
}

// The buttons. `state` is read when they are drawn and pressed, `change(state)` is called with the new
// one. draw(tier) says which tier is shown; without one it is the last.
export function spanControls(state, tiersOf, change) {
  const spans = group("Span"), tiers = group("Window size"), move = group("Move and zoom");
  const said = h("p", { class: "note", "data-span": "" });
  let last = "";

  function group(label) { return h("div", { class: "group", role: "group", "aria-label": label }); }
  function choices(box, options, chosen, choose) {
    // The buttons stay, so that the one with the focus keeps it.
    const text = options.map(([label]) => label).join("\n");
    if (box.dataset.options !== text) box.replaceChildren(...options.map(([label, key]) => h("button", { type: "button", onclick: () => choose(key) }, label)));
    box.dataset.options = text;
    options.forEach(([, key], i) => box.children[i].setAttribute("aria-pressed", String(key === chosen)));
  }
  const act = (label, text, how) => h("button", { type: "button", "aria-label": label, title: label, onclick: () => change(how(state())) }, text);
  move.append(act("Earlier", "←", (now) => moved(now, -0.5)), act("Later", "→", (now) => moved(now, 0.5)),
    act("Zoom in", "+", (now) => moved(now, 0, 0.5)), act("Zoom out", "−", (now) => moved(now, 0, 2)));

  function draw(tier = last) {
    const now = state(), live = !now.to;
    last = tier;
    choices(spans, SPANS, live ? now.span : null, (span) => change({ ...state(), span, from: 0, to: 0 }));
    choices(tiers, [["auto", ""], ...tiersOf().map((one) => [one, one])], now.tier, (one) => change({ ...state(), tier: one }));
    const finer = now.tier === "" ? ", the finest that fit and are kept" : "";
    const which = live ? `The last ${duration(now.span)}, live` : between(...ends(now));
    said.textContent = `${which}${tier ? ` · windows of ${tier}${finer}` : ""} · ${isLocal() ? `times are this browser's, ${zone()}; commands and files have UTC` : "times are UTC, as in commands and files"}`;
    if (!live) said.append(" ", h("button", { type: "button", class: "small", onclick: () => {
      change({ ...state(), from: 0, to: 0 });
      (spans.querySelector('[aria-pressed="true"]') ?? spans.firstChild).focus();
    } }, "Back to live"));
  }
  return { element: h("div", {}, h("div", { class: "controls" }, spans, move, tiers), said), draw };
}
