// A login that came back in another tab has given the browser a new token; this page's forms still have the old one.

const TOKENS = "[name=csrfmiddlewaretoken]";

const nameOn = (page) => page.querySelector(".who")?.textContent;

// Put the new token into all forms. "same": done. "other": somebody else is logged in, in whose name nobody answers
// without having read it, so the forms keep the old token. "out": nobody is.
export async function renewLogin() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (response.redirected) return "out";
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = page.querySelector(TOKENS);
  if (!fresh || nameOn(page) !== nameOn(document)) return "other";
  for (const field of document.querySelectorAll(TOKENS)) field.value = fresh.value;
  return "same";
}
