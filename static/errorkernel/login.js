// A login that came back in another tab has given the browser a new token; this page's forms still have the old one.

import { fetchPage } from "./fragments.js";

const TOKENS = "[name=csrfmiddlewaretoken]";

const nameOn = (page) => page.querySelector("[data-account]")?.textContent;

// Put the new token into all forms. "same": done. "other": another account is logged in; nobody decides in its
// name unawares, so the forms keep the old token. "out": nobody is.
export async function renewLogin() {
  const page = await fetchPage().catch(() => undefined);
  if (page === null) return "out";
  const fresh = page?.querySelector(TOKENS);
  if (!fresh || nameOn(page) !== nameOn(document)) return "other";
  for (const field of document.querySelectorAll(TOKENS)) field.value = fresh.value;
  return "same";
}
