// A device's alerts on its charts, and the same as text.
import { severity } from "../alerts.js";
import { get, h } from "../dom.js";
import { clock } from "../time.js";

const COLORS = { critical: "--bad", warning: "--warn", info: "--accent" };

// The spans in which an alert was open, oldest first; one that is open has no end.
export function spansOf(transitions) {
  const spans = [], open = new Map();
  for (const one of transitions.filter((each) => each.stands).sort((a, b) => a.window - b.window)) {
    if (one.kind === "raised") {
      const span = { rule: one.rule, severity: one.severity, from: one.window, to: null };
      open.set(one.rule, span);
      spans.push(span);
    } else if (one.kind === "cleared" && open.has(one.rule)) {
      open.get(one.rule).to = one.window;
      open.delete(one.rule);
    }
  }
  return spans;
}

export function alertMarks(id, redraw) {
  const box = h("div"), card = h("section", { class: "card", hidden: true }, h("h2", {}, "Alerts"), box);
  let spans = [];

  async function load() {
    let found;
    try { found = (await get(`api/v1/alerts/history?${new URLSearchParams({ device: id })}`)).transitions; } catch (error) {
      // A deployment without alerts has no such section.
      if (error.status !== 404) { card.hidden = false; box.replaceChildren(h("p", { class: "notice bad", role: "alert" }, error.message)); }
      return;
    }
    spans = spansOf(found);
    card.hidden = false;
    box.replaceChildren(spans.length ? table() : h("p", { class: "empty" }, "No rule has raised an alert of this device."));
    redraw();
  }

  function table() {
    return h("div", { class: "scroll" }, h("table", {}, h("caption", {}, "Newest first; the charts show them as bands"),
      h("thead", {}, h("tr", {}, ["Alert", "Raised", "Cleared"].map((one) => h("th", { scope: "col" }, one)))),
      h("tbody", {}, spans.toReversed().slice(0, 20).map((one) => h("tr", {},
        h("td", {}, severity(one.severity), " ", h("a", { href: `#/alerts?${new URLSearchParams({ tab: "history", device: id, rule: one.rule })}` }, one.rule)),
        h("td", {}, clock(one.from)), h("td", {}, one.to === null ? "still open" : clock(one.to)))))));
  }

  // uPlot's hook "draw": a band from begin to end, with the rule's name at its begin.
  function draw(plot) {
    const { ctx, bbox } = plot, css = getComputedStyle(document.documentElement);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const [at, one] of spans.entries()) {
      const left = plot.valToPos(one.from / 1e3, "x", true), right = one.to === null ? bbox.left + bbox.width : plot.valToPos(one.to / 1e3, "x", true);
      if (right < bbox.left || left > bbox.left + bbox.width) continue;
      const color = css.getPropertyValue(COLORS[one.severity] ?? "--bad").trim();
      ctx.fillStyle = `${color}1f`;
      ctx.fillRect(left, bbox.top, Math.max(1, right - left), bbox.height);
      ctx.strokeStyle = color;
      ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
      for (const x of one.to === null ? [left] : [left, right]) { ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke(); }
      ctx.fillStyle = color;
      ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
      ctx.textAlign = "left";
      ctx.fillText(one.rule, Math.max(left, bbox.left) + 4 * devicePixelRatio, bbox.top + (12 + (at % 2) * 13) * devicePixelRatio);
    }
    ctx.restore();
  }

  return { card, draw, load, said: () => spans.map((one) => `${one.severity} alert ${one.rule} from ${clock(one.from)}${one.to === null ? "" : ` to ${clock(one.to)}`}`).slice(-3).join("; ") };
}
