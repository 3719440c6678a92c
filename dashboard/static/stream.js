// The stream: shards, workers, and what was rejected.
import { ago, count, duration, get, h, state } from "./dom.js";
import { clock } from "./time.js";

export function streamView(main, live) {
  const shards = h("tbody"), workers = h("tbody"), dispositions = h("dl", { class: "tiles", "aria-label": "Readings by disposition" });
  const rejects = h("tbody");
  let gone = false;
  const table = (caption, heads, body) => h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, h("table", {}, h("caption", {}, caption),
    h("thead", {}, h("tr", {}, heads.map((one) => h("th", { scope: "col" }, one)))), body));
  main.append(h("h1", {}, "Stream"), h("p", { class: "lead" }, "Shards, how far behind they are, and what could not be folded."),
    dispositions,
    h("section", { class: "card" }, h("h2", {}, "Shards"), table("One line a shard; lag is the age of the oldest record that is not received",
      ["Shard", "State", "Lag", "Records", "Commits", "Last commit"], shards)),
    h("section", { class: "card" }, h("h2", {}, "Workers"), table("What each worker last said",
      ["Worker", "Heard", "Records", "Readings durable", "Conflicts", "Throttled", "Restarts"], workers)),
    h("section", { class: "card" }, h("h2", {}, "Rejected lately"), table("Each is in the archive with all its bytes",
      ["Device", "Reason", "When", "What it sent"], rejects)));

  const line = (...cells) => h("tr", {}, cells.map((one) => h("td", {}, one)));
  const none = (columns, text) => h("tr", {}, h("td", { colspan: columns, class: "empty" }, text));

  async function load() {
    let stream;
    try { stream = await get("api/v1/stream"); } catch (error) {
      if (!gone) shards.replaceChildren(none(6, error.message));
      return;
    }
    if (gone) return;
    shards.replaceChildren(...stream.shards.map((one) => line(one.shard, state(one.state),
      one.lag_ms === null ? "–" : one.lag_ms === 0 ? "none" : duration(one.lag_ms), count(one.records), count(one.commits),
      ago(one.committed_at, stream.at))));
    if (!stream.shards.length) shards.append(none(6, "No worker has reported yet."));
    workers.replaceChildren(...stream.workers.map((one) => line(one.worker, ago(one.updated_at, stream.at), count(one.records),
      count(one.durable), count(one.conflicts), count(one.throttled), count(one.restarts))));
    if (!stream.workers.length) workers.append(none(7, "None."));
    dispositions.replaceChildren(...Object.entries(stream.dispositions).sort((a, b) => b[1] - a[1]).map(([name, number]) =>
      h("div", { class: "tile" }, h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, count(number)))));
    rejects.replaceChildren(...stream.rejects.map((one) => line(one.device ?? "–", one.disposition.replaceAll("_", " "),
      clock(one.at), h("pre", {}, one.preview))));
    if (!stream.rejects.length) rejects.append(none(4, "Nothing."));
  }

  const refreshing = setInterval(load, 2000);
  load();
  live.watch([]);
  return { back: load, redraw: load, leave() { gone = true; clearInterval(refreshing); } };
}
