// Routes, the live connection, the clock, and the theme.
import { alertsView } from "./alerts.js";
import { compareView } from "./compare.js";
import { deviceView } from "./device.js";
import { h } from "./dom.js";
import { fleetView, groupView, typeView } from "./fleet.js";
import { makeLive } from "./live.js";
import { begin, signOut, signsIn, whoIs } from "./signin.js";
import { streamView } from "./stream.js";
import { isLocal, setLocal, zone } from "./time.js";

const main = document.getElementById("main");
const connection = document.getElementById("connection");
let view = null;

export const live = makeLive(() => view, say);

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
  const views = { "": fleetView, group: groupView, type: typeView, compare: compareView, device: deviceView, alerts: alertsView, stream: streamView };
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
const clockButton = document.getElementById("clock");
function showClock() {
  clockButton.textContent = zone();
  const text = `${zone()}: times are ${isLocal() ? "this browser's. Show UTC" : "UTC. Show this browser's"}`;
  clockButton.setAttribute("aria-label", text);
  clockButton.title = text;
}
clockButton.addEventListener("click", () => {
  setLocal(!isLocal());
  showClock();
  view?.redraw?.();
});
showClock();
addEventListener("hashchange", () => { route(); main.focus(); });
try {
  await begin();
  if (signsIn()) document.querySelector("header").append(h("button", { type: "button", class: "quiet", onclick: signOut, title: `Signed in as ${whoIs()}` }, "Sign out"));
  route();
} catch (error) {
  main.replaceChildren(h("p", { class: "notice bad", role: "alert" }, error.message), h("p", {}, h("a", { href: "/" }, "Sign in again")));
}
