// Copy buttons: the text of an element (`data-copy-from` is its id) or the address of the page (`data-copy-link`).

import { text } from "./texts.js";

const SHOWN_MS = 2_000;

// Insecure origins have no clipboard: there the text is selected for the reader to copy.
async function copy(button) {
  const from = document.getElementById(button.dataset.copyFrom);
  const word = button.dataset.word ?? button.textContent;
  button.dataset.word = word;
  try {
    await navigator.clipboard.writeText(from ? from.textContent : button.dataset.copyLink || location.href);
    button.textContent = text("copied");
  } catch {
    if (!from) return;
    from.closest("details")?.setAttribute("open", "");
    getSelection().selectAllChildren(from);
    button.textContent = text("selected");
  }
  setTimeout(() => {
    button.textContent = word;
  }, SHOWN_MS);
}

export function startCopyButtons() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-copy-from], [data-copy-link]");
    if (button) copy(button);
  });
}
