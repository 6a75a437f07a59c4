// The browser's storage, which may be forbidden: then a choice lasts as long as its page.

export function remembered(name) {
  try {
    return localStorage.getItem(`steward-${name}`);
  } catch {
    return null;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`steward-${name}`, value);
  } catch {
    // nothing to do: the page has it already
  }
}
