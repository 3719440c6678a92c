// The view in the address, so that a link shows what its sender saw.

// What a link says of a view, over its defaults. A number stays a number; a list is an array.
export function stateOf(query, defaults) {
  const state = { ...defaults };
  for (const [key, value] of Object.entries(defaults)) {
    const text = query.get(key);
    if (text === null) continue;
    if (Array.isArray(value)) state[key] = text.split(",").filter(Boolean);
    else if (typeof value === "number") state[key] = Number.isFinite(Number(text)) ? Number(text) : value;
    else state[key] = text;
  }
  return state;
}

// The address of a view: what differs from the defaults.
export function addressOf(path, state, defaults) {
  const said = Object.entries(state).filter(([key, value]) => String(value) !== String(defaults[key]) && value !== null)
    .map(([key, value]) => [key, String(value)]);
  return `#/${path}${said.length ? `?${new URLSearchParams(said)}` : ""}`;
}

// Change the address without a new view; "back" leads to the view before.
export function keep(path, state, defaults) {
  const address = addressOf(path, state, defaults);
  if (location.hash !== address) history.replaceState(null, "", address);
}
