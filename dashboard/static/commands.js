// Commands to a device: the newest with what became of them, and a form that sends one.
import { ago, get, h, post } from "./dom.js";
import { clock } from "./time.js";

const EXPIRES = [[60, "1 minute"], [600, "10 minutes"], [3600, "1 hour"], [86400, "1 day"], [7 * 86400, "7 days"]];
const MEANS = {
  CREATED: "sent, not answered yet", IN_PROGRESS: "the device does it", SUCCEEDED: "done, once", FAILED: "not done, or not known to be",
  REJECTED: "the device refuses it", TIMED_OUT: "expired before the device began it",
};
const TONES = { SUCCEEDED: "online", IN_PROGRESS: "late", FAILED: "silent", REJECTED: "silent" };
const OPEN_MS = 1500, CALM_MS = 15000;

const path = (id) => `api/v1/devices/${encodeURIComponent(id)}/commands`;
const argsText = (args) => Object.entries(args).map(([name, value]) => `${name}=${value}`).join(" ");

// A card that keeps itself up to date for as long as it is on the page; hidden where commands are not read.
export function commandsCard(id) {
  const box = h("div"), said = h("p", { role: "status", "aria-live": "polite", class: "note" });
  const button = h("button", { type: "button", hidden: true, onclick: () => ask(id, user, (text) => { said.textContent = text; load(); }) }, "Send a command");
  const card = h("section", { class: "card commands", hidden: true, "aria-label": "Commands" }, h("h2", {}, "Commands"), said, box, h("div", { class: "pager" }, button));
  let user = "", timer = 0, shown = "";

  async function load() {
    clearTimeout(timer);
    let wait = CALM_MS;
    try {
      const page = await get(path(id));
      user = page.user;
      button.hidden = !page.may_send;
      card.hidden = false;
      draw(page.commands);
      if (page.commands.some((one) => !one.final && one.status !== "TIMED_OUT")) wait = OPEN_MS;
    } catch (error) {
      // The page says above that there is no such device; and some servers read no commands.
      if (error.status !== 404) { card.hidden = false; shown = ""; box.replaceChildren(h("p", { class: "notice bad", role: "alert" }, error.message)); }
    }
    if (card.isConnected) timer = setTimeout(load, wait);
  }

  function draw(commands) {
    const text = JSON.stringify(commands);
    if (text === shown) return;
    shown = text;
    box.replaceChildren(commands.length ? table(commands) : h("p", { class: "empty" }, "No command to this device is known."));
  }

  queueMicrotask(load);
  return card;
}

function table(commands) {
  return h("div", { class: "scroll" }, h("table", {}, h("caption", {}, "Those that wait, and the last that the device answered; newest first, times are UTC"),
    h("thead", {}, h("tr", {}, ["Command", "Status", "Sent", "By", "Detail"].map((one) => h("th", { scope: "col" }, one)))),
    h("tbody", {}, commands.map((one) => h("tr", { "data-command": one.id }, h("td", { class: "name" }, `${one.name} ${argsText(one.args)}`.trim()),
      h("td", {}, status(one)), h("td", { title: clock(one.at) }, ago(one.at, Date.now())), h("td", {}, one.by), h("td", {}, one.detail))))));
}

function status(one) {
  const note = one.status === "TIMED_OUT" && !one.final ? "expired; no answer came" : MEANS[one.status];
  return h("span", { class: `state ${TONES[one.status] ?? ""}`, title: one.status === "CREATED" ? `${note}; may begin until ${clock(one.until)}` : note }, one.status);
}

function ask(id, user, done) {
  const name = h("input", { type: "text", required: true, maxlength: 64, pattern: "[a-z][a-z0-9_\\-]*", autocomplete: "off", placeholder: "open-valve" });
  const args = h("input", { type: "text", maxlength: 400, autocomplete: "off", placeholder: "percent=60 slowly=true" });
  const expires = h("select", {}, EXPIRES.map(([s, text]) => h("option", { value: s }, text)));
  const by = h("input", { type: "text", maxlength: 128, required: !user, autocomplete: "name", value: known() });
  const failed = h("p", { class: "bad", role: "alert" });
  const confirm = h("button", { type: "submit", class: "main" }, "Send");
  // One id for this form: what is sent again after a lost answer is the same command.
  const key = [...crypto.getRandomValues(new Uint8Array(8))].map((one) => one.toString(16).padStart(2, "0")).join("");
  const dialog = h("dialog", { "aria-labelledby": "send-command" },
    h("form", { onsubmit: (event) => { event.preventDefault(); send(); } },
      h("h2", { id: "send-command" }, `Send a command to ${id}?`), h("p", {}, "The device does it once, also when it comes back later, unless the command has expired by then."),
      h("div", { class: "controls" }, h("label", {}, "Command", name), h("label", {}, "Arguments, name=value with blanks between", args),
        h("label", {}, "Expires after", expires), user ? h("p", {}, `As ${user}`) : h("label", {}, "Your name", by)),
      failed, h("div", { class: "pager" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), confirm)));

  async function send() {
    const who = user || by.value.trim();
    confirm.disabled = true;
    failed.textContent = "";
    try {
      await post(path(id), { name: name.value, args: parse(args.value), expires_s: Number(expires.value), id: key, by: who });
    } catch (error) {
      failed.textContent = error.message;
      confirm.disabled = false;
      return;
    }
    if (!user) try { localStorage.setItem("name", who); } catch { /* a private window */ }
    dialog.close();
    done(`Sent by ${who}: ${name.value}`);
  }
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// A number, true or false where it is one, else a text.
function parse(text) {
  return Object.fromEntries(text.split(/\s+/).filter(Boolean).map((part) => {
    const [name, ...rest] = part.split("=");
    if (!rest.length) throw new Error(`${part}: write an argument as name=value`);
    const value = rest.join("=");
    if (value === "true" || value === "false") return [name, value === "true"];
    return [name, value.trim() !== "" && Number.isFinite(Number(value)) ? Number(value) : value];
  }));
}

const known = () => { try { return localStorage.getItem("name") ?? ""; } catch { return ""; } };
