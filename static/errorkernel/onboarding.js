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

export function startOnboarding() {
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
