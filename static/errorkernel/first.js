// The steps to the first event. They go when it arrives, but not with credentials that are shown this once.

import { text } from "./texts.js";

const find = (name) => document.querySelectorAll(`[data-${name}]`);
let hadRows = false;

function hide(name, isHidden) {
  for (const element of find(name)) element.hidden = isHidden;
}

// Pages that are not served safely get no clipboard: there the text is marked for the reader to copy.
async function copy(button) {
  const whole = button.closest("p").nextElementSibling;
  try {
    await navigator.clipboard.writeText(whole.textContent);
    button.textContent = text("copied");
  } catch {
    getSelection().selectAllChildren(whole);
    button.textContent = text("marked");
  }
}

export function startFirst() {
  hide("copy", false);
  for (const button of find("copy")) button.addEventListener("click", () => copy(button));
  for (const button of find("kept")) button.addEventListener("click", () => button.closest("[data-first]").remove());
  // The answer to the form that made the node is the live page, under another address.
  if (find("token").length) history.replaceState(null, "", "/");
}

// There are rows: what an empty page says is no longer true, and there is something to search.
export function haveRows() {
  if (hadRows) return;
  hadRows = true;
  hide("query-row", false);
  for (const element of find("empty")) element.remove();
  if (!find("token").length) for (const part of find("first")) part.remove();
  hide("until-first", true);
  hide("from-first", false);
}
