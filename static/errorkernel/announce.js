// Says something to screen readers, in the one live region of the page. Nothing is shown.

const CLEAR_MS = 5_000; // so that a reader who walks through the page does not find it

let timer = null;

export function announce(words) {
  const region = document.querySelector("[data-announcer]");
  if (!region || !words) return;
  clearTimeout(timer);
  // The same words again are no change, and would not be said.
  region.textContent = region.textContent === words ? `${words}\u00a0` : words;
  timer = setTimeout(() => {
    region.textContent = "";
  }, CLEAR_MS);
}
