// What a person does to an alert: each asks first, says under which name, and tells what was done.
import { h, post } from "./dom.js";

const MUTES = [[3600e3, "1 hour"], [4 * 3600e3, "4 hours"], [86400e3, "1 day"], [7 * 86400e3, "7 days"]];
const WORDS = { acknowledge: ["Acknowledge", "Acknowledged"], mute: ["Mute", "Muted"], unmute: ["Unmute", "No longer muted"] };
const MEANS = {
  acknowledge: "Somebody takes care of it. It stays open until the device's windows clear it.",
  mute: "Its transitions are recorded, and nobody is notified.",
  unmute: "People are notified of its transitions again.",
};

const known = () => { try { return localStorage.getItem("name") ?? ""; } catch { return ""; } };

// The buttons that an alert's state allows; done(text) is called after each that was carried out.
export function actButtons(alert, user, done) {
  const acts = [...(alert.open && !alert.acknowledged ? ["acknowledge"] : []), alert.muted_until > Date.now() ? "unmute" : "mute"];
  return acts.map((act) => h("button", {
    type: "button", "data-act": `${act} ${alert.rule} ${alert.device}`, "aria-label": `${WORDS[act][0]} ${alert.rule} on ${alert.device}`,
    onclick: () => ask(act, alert, user, done),
  }, WORDS[act][0]));
}

function ask(act, alert, user, done) {
  const name = h("input", { type: "text", value: known(), maxlength: 128, required: true, autocomplete: "name" });
  const span = h("select", {}, MUTES.map(([ms, text]) => h("option", { value: ms }, text)));
  const failed = h("p", { class: "bad", role: "alert" });
  const confirm = h("button", { type: "submit", class: "main" }, WORDS[act][0]);
  const dialog = h("dialog", { "aria-labelledby": "ask" },
    h("form", { onsubmit: (event) => { event.preventDefault(); send(); } },
      h("h2", { id: "ask" }, `${WORDS[act][0]} ${alert.rule} on ${alert.device}?`), h("p", {}, MEANS[act]),
      h("div", { class: "controls" }, act === "mute" ? h("label", {}, "For", span) : null,
        user ? h("p", {}, `As ${user}`) : h("label", {}, "Your name", name)),
      failed, h("div", { class: "pager" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), confirm)));

  async function send() {
    const by = user || name.value.trim();
    if (!by) { failed.textContent = "Say your name: it is recorded."; name.focus(); return; }
    confirm.disabled = true;
    failed.textContent = "";
    try {
      await post(`api/v1/alerts/${act}`, { device: alert.device, rule: alert.rule, by, ...(act === "mute" ? { until: Date.now() + Number(span.value) } : {}) });
    } catch (error) {
      failed.textContent = error.message;
      confirm.disabled = false;
      return;
    }
    if (!user) try { localStorage.setItem("name", by); } catch { /* a private window */ }
    dialog.close();
    done(`${WORDS[act][1]} by ${by}: ${alert.rule} on ${alert.device}`);
  }
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
