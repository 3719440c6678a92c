// Routes, the live connection, and the theme.
import { alertsView } from "./alerts.js";
import { deviceView } from "./device.js";
import { fleetView } from "./fleet.js";
import { streamView } from "./stream.js";

const main = document.getElementById("main");
const connection = document.getElementById("connection");
let view = null;
let source = null;

export const live = {
  // Listen to the server; ids are the devices whose changes are wanted.
  watch(ids) {
    source?.close();
    source = new EventSource(`api/v1/live?watch=${ids.map(encodeURIComponent).join(",")}`);
    const mine = source;
    mine.onopen = () => say("live", "live");
    mine.onerror = () => {
      if (mine !== source) return;
      say("lost", "connection lost, trying again");
      if (mine.readyState === EventSource.CLOSED) setTimeout(() => mine === source && live.watch(ids), 2000);
    };
    mine.addEventListener("summary", (event) => view?.summary?.(JSON.parse(event.data)));
    mine.addEventListener("devices", (event) => view?.devices?.(JSON.parse(event.data)));
    mine.addEventListener("alerts", (event) => view?.alerts?.(JSON.parse(event.data)));
    mine.addEventListener("problem", (event) => {
      const { error } = JSON.parse(event.data);
      if (error) say("lost", error);
      else say("live", "live");
    });
  },
};

function say(state, text) {
  if (connection.dataset.state === state && connection.textContent === text) return;
  const back = connection.dataset.state === "lost" && state === "live";
  connection.dataset.state = state;
  connection.textContent = back ? "connection is back" : text;
  if (back) {
    view?.back?.();
    setTimeout(() => { if (connection.dataset.state === "live") connection.textContent = "live"; }, 3000);
  }
}

function route() {
  const [, name, rest, query] = location.hash.match(/^#\/([a-z]*)\/?([^?]*)\??(.*)$/) ?? [null, "", "", ""];
  view?.leave?.();
  document.querySelector("dialog")?.close();
  main.replaceChildren();
  const views = { "": fleetView, device: deviceView, alerts: alertsView, stream: streamView };
  view = (views[name] ?? fleetView)(main, live, decodeURIComponent(rest ?? ""), new URLSearchParams(query));
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.dataset.view === (["stream", "alerts"].includes(name) ? name : "fleet");
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function theme(wanted) {
  document.documentElement.dataset.theme = wanted;
  view?.redraw?.();
}

const stored = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
const dark = matchMedia("(prefers-color-scheme: dark)");
theme(stored() ?? (dark.matches ? "dark" : "light"));
dark.addEventListener("change", () => { if (!stored()) theme(dark.matches ? "dark" : "light"); });
document.getElementById("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("theme", next); } catch { /* a private window */ }
  theme(next);
});
addEventListener("hashchange", () => { route(); main.focus(); });
route();
