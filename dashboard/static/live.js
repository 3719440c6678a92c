// The live connection: server-sent events where a server runs, else the newest state by polling. A view does not know which.
import { request, signsIn } from "./signin.js";

const POLL_MS = 2000;
const ALERTS_MS = 10000;
const LOST = "connection lost, trying again";

// view() is what is shown now; say(state, text) tells the user how the connection is.
export function makeLive(view, say) {
  let stop = () => {}, polls = false;

  // Listen; ids are the devices whose changes are wanted.
  function watch(ids) {
    stop();
    const path = (name) => `api/v1/${name}?watch=${ids.map(encodeURIComponent).join(",")}`;
    // An EventSource sends no token.
    stop = polls || signsIn() ? poll(path("latest")) : listen(path("live"), () => watch(ids));
  }

  function listen(path, again) {
    const source = new EventSource(path);
    let left = false;
    source.onopen = () => say("live", "live");
    source.onerror = async () => {
      if (source.readyState !== EventSource.CLOSED) { say("lost", LOST); return; }
      const isServed = await served(path);
      if (left) return;
      if (isServed) { say("lost", LOST); setTimeout(() => left || again(), POLL_MS); }
      else { polls = true; again(); }
    };
    for (const kind of ["summary", "devices", "alerts"]) {
      source.addEventListener(kind, (event) => view()?.[kind]?.(JSON.parse(event.data)));
    }
    source.addEventListener("problem", (event) => problem(JSON.parse(event.data).error));
    return () => { left = true; source.close(); };
  }

  function poll(path) {
    const latest = conditional(path), alerts = conditional("api/v1/alerts?limit=100");
    let left = false, timer = 0, due = 0, known = null, wrong = "";
    async function ask() {
      try {
        if (!document.hidden) await look();
      } catch (error) {
        if (left) return;
        if (error.status === 404) due = Infinity; // the deployment has no alerts
        else say("lost", LOST);
      }
      if (!left) timer = setTimeout(ask, POLL_MS);
    }
    async function look() {
      const news = await latest();
      if (left) return;
      wrong = news?.error ?? wrong;
      problem(wrong);
      if (news) tell(news);
      if (!view()?.alerts || Date.now() < due) return;
      due = Date.now() + ALERTS_MS;
      const page = await alerts();
      if (left || !page) return;
      if (known) view()?.alerts?.(changed(known, page.alerts));
      known = page.alerts;
    }
    ask();
    return () => { left = true; clearTimeout(timer); };
  }

  function tell({ watched, ...summary }) {
    view()?.summary?.(summary);
    view()?.devices?.(watched);
  }

  function problem(error) { if (error) say("lost", error); else say("live", "live"); }

  return { watch };
}

// Asks for a path; its body, or null when that is as it was.
export function conditional(path) {
  let tag = "";
  return async () => {
    const answer = await request(path, { cache: "no-store", headers: { Accept: "application/json", ...(tag ? { "If-None-Match": tag } : {}) } });
    if (answer.status === 304) return null;
    if (!answer.ok) throw Object.assign(new Error(`the server answered ${answer.status}`), { status: answer.status });
    tag = answer.headers.get("ETag") ?? "";
    return answer.json();
  };
}

// Whether there is a stream at a path at all. Without an answer nobody knows, so it is asked for again.
async function served(path) {
  try {
    const answer = await fetch(path);
    answer.body?.cancel();
    return answer.status !== 404;
  } catch { return true; }
}

// The alerts of devices in which one is not as it was: those that are new, and those that are gone.
function changed(before, now) {
  const text = (rows) => new Set(rows.map((one) => JSON.stringify(one)));
  const old = text(before), young = text(now);
  return [...now.filter((one) => !old.has(JSON.stringify(one))), ...before.filter((one) => !young.has(JSON.stringify(one)))];
}
