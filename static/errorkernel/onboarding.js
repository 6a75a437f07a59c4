// The steps to the first event. They disappear when it arrives, but not while credentials are shown, which is once.

import { text } from "./texts.js";

const find = (name) => document.querySelectorAll(`[data-${name}]`);
let hadRows = false;

function hide(name, isHidden) {
  for (const element of find(name)) element.hidden = isHidden;
}

// Insecure origins have no clipboard: there the text is selected for the reader to copy.
async function copy(button) {
  const whole = button.closest("p").nextElementSibling;
  try {
    await navigator.clipboard.writeText(whole.textContent);
    button.textContent = text("copied");
  } catch {
    getSelection().selectAllChildren(whole);
    button.textContent = text("selected");
  }
}

// A cookie, not the storage: the server leaves dismissed hints out, so that nothing moves when the page loads.
function dismissHints() {
  const path = `${document.documentElement.dataset.root}/`;
  // biome-ignore lint/suspicious/noDocumentCookie: the cookie store exists on secure origins only.
  document.cookie = `hints=off; path=${path}; max-age=31536000; SameSite=Lax`;
  for (const hints of find("hints")) hints.remove();
  document.getElementById("main").focus();
}

export function startOnboarding() {
  hide("dismiss-hints", false);
  for (const button of find("dismiss-hints")) button.addEventListener("click", dismissHints);
  hide("copy", false);
  for (const button of find("copy")) button.addEventListener("click", () => copy(button));
  for (const button of find("kept")) button.addEventListener("click", () => button.closest("[data-onboarding]").remove());
  // The response to the form that created the node is the live page, under another address.
  if (find("token").length) history.replaceState(null, "", "/");
}

// There are rows: the empty page is over, and there is something to search.
export function hideOnboarding() {
  if (hadRows) return;
  hadRows = true;
  hide("query-row", false);
  for (const element of find("empty")) element.remove();
  if (!find("token").length) for (const part of find("onboarding")) part.remove();
  hide("until-first", true);
  hide("from-first", false);
}
