// Sign-in: the code flow with PKCE (RFC 7636) at the issuer that config.json names. Where it names none, the server decides
// who may ask, and nothing here does anything.
//
// Tokens are kept in sessionStorage: they are this tab's alone, end with it, and outlive a reload, which memory does not. A
// script of another origin reads neither; one that ran in this page could use either, and the content security policy lets none in.

const KEPT = "penstock.tokens", ASKED = "penstock.asked";
const EARLY_MS = 60e3, FRESH_MS = 30e3;
let issuer = null, renewing = null, leaving = null;

const home = () => `${location.origin}/`;
const read = (key) => JSON.parse(sessionStorage.getItem(key) ?? "null");
const write = (key, value) => sessionStorage.setItem(key, JSON.stringify(value));
const text = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
const chance = () => text(crypto.getRandomValues(new Uint8Array(32)));
const claims = (token) => JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0))));

// Whether the page signs in by itself, and so sends tokens.
export const signsIn = () => issuer !== null;

// Who is signed in, as the issuer names them.
export function whoIs() {
  const { email, preferred_username: name, "cognito:username": user, sub } = claims(read(KEPT).id);
  return email ?? name ?? user ?? sub;
}

// Resolves once the page may ask; leaves for the issuer's sign-in where there is no token.
export async function begin() {
  const config = await (await fetch("config.json", { cache: "no-cache" })).json();
  issuer = config.sign_in ?? null;
  if (!issuer) return;
  const given = new URLSearchParams(location.search);
  if (given.has("error")) {
    history.replaceState(null, "", home());
    throw new Error(`the sign-in failed: ${given.get("error_description") ?? given.get("error")}`);
  }
  if (given.has("code")) await enter(given);
  if (!read(KEPT)) await leave();
}

// As fetch, with the token of who is signed in. An answer 401 leads to the sign-in, unless that was just now: then the API
// does not take this issuer's tokens, and another one would be refused too.
export async function request(path, options = {}) {
  if (!issuer) return fetch(path, options);
  const answer = await fetch(path, { ...options, headers: { ...options.headers, Authorization: `Bearer ${await token()}` } });
  const isFresh = Date.now() - (read(KEPT)?.at ?? 0) < FRESH_MS;
  return answer.status === 401 && !isFresh ? leave() : answer;
}

// Forgets the tokens, here and at the issuer, which shows its page of sign-in again.
export async function signOut() {
  const kept = read(KEPT);
  sessionStorage.removeItem(KEPT);
  if (issuer.revoke && kept?.refresh) await post(issuer.revoke, { token: kept.refresh }).catch(() => {});
  location.assign(issuer.sign_out ? `${issuer.sign_out}${encodeURIComponent(home())}` : home());
}

// Several requests may find out at once.
function leave() {
  leaving ??= depart();
  return leaving;
}

async function depart() {
  sessionStorage.removeItem(KEPT);
  const asked = { verifier: chance(), state: chance(), nonce: chance(), view: location.hash };
  write(ASKED, asked);
  const challenge = text(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(asked.verifier)));
  location.assign(`${issuer.authorize}?${new URLSearchParams({
    response_type: "code", client_id: issuer.client_id, redirect_uri: home(), scope: issuer.scope,
    state: asked.state, nonce: asked.nonce, code_challenge: challenge, code_challenge_method: "S256",
  })}`);
  return new Promise(() => {}); // the page is left
}

// A code counts once, and only when this tab asked for it.
async function enter(given) {
  const asked = read(ASKED);
  sessionStorage.removeItem(ASKED);
  history.replaceState(null, "", `${home()}${asked?.view ?? ""}`);
  if (!asked || given.get("state") !== asked.state) return;
  const answer = await post(issuer.token, { grant_type: "authorization_code", code: given.get("code"), redirect_uri: home(), code_verifier: asked.verifier });
  if (!answer) return;
  if (claims(answer.id_token).nonce !== asked.nonce) throw new Error("the sign-in failed: the token is of another sign-in");
  keep(answer);
}

async function token() {
  const kept = read(KEPT);
  if (!kept) return leave();
  if (Date.now() < kept.until - EARLY_MS) return kept[issuer.sends];
  renewing ??= renew(kept).finally(() => { renewing = null; });
  return renewing;
}

async function renew(kept) {
  const answer = kept.refresh && await post(issuer.token, { grant_type: "refresh_token", refresh_token: kept.refresh });
  if (!answer) return leave();
  keep({ refresh_token: kept.refresh, id_token: kept.id, ...answer });
  return read(KEPT)[issuer.sends];
}

function keep(answer) {
  write(KEPT, { id: answer.id_token, access: answer.access_token, refresh: answer.refresh_token, at: Date.now(), until: Date.now() + answer.expires_in * 1e3 });
}

// What the issuer answers; null when it refuses, so that the user signs in again.
async function post(url, form) {
  const answer = await fetch(url, { method: "POST", body: new URLSearchParams({ client_id: issuer.client_id, ...form }) });
  if (answer.status >= 500) throw new Error(`the sign-in answers ${answer.status}: try again later`);
  return answer.ok ? answer.json().catch(() => ({})) : null;
}
