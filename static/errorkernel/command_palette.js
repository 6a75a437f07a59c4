// The command palette (Ctrl-K): finds a node, a process or a problem by a part of its name. The link in the strip leads
// to the same search as a page.

import { parseFragment } from "./fragments.js";
import { text } from "./texts.js";

const QUIET_MS = 120;

export function startCommandPalette() {
  const dialog = document.getElementById("jump");
  const form = dialog.querySelector("form");
  const found = dialog.querySelector("[data-found]");
  let timer = null;
  let request = null;
  let shown = null; // the text whose results are below the field

  async function search() {
    clearTimeout(timer);
    request?.abort();
    request = new AbortController();
    const wanted = form.elements.q.value;
    const address = `${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`;
    try {
      const response = await fetch(address, { headers: { "X-Steward-Card": "1" }, signal: request.signal });
      if (!response.ok) throw new Error(response.statusText);
      found.replaceChildren(parseFragment(await response.text()));
      shown = wanted;
    } catch (error) {
      if (error.name === "AbortError") return;
      found.textContent = text("palette-failed");
      shown = null;
    }
  }

  const links = () => [...found.querySelectorAll("a")];

  // To the first result for the text in the field: the results below may still be those of an earlier text.
  async function jump() {
    const wanted = form.elements.q.value;
    if (shown !== wanted) await search();
    if (shown === wanted && form.elements.q.value === wanted && dialog.open) links()[0]?.click();
  }

  function onKey(event) {
    const all = links();
    const at = all.indexOf(document.activeElement);
    if (event.isComposing) return;
    if (event.key === "ArrowDown") (all[at + 1] ?? all[0])?.focus();
    else if (event.key === "ArrowUp") (at > 0 ? all[at - 1] : form.elements.q).focus();
    else if (event.key === "Enter" && event.target === form.elements.q) jump();
    else return;
    event.preventDefault();
  }

  form.elements.q.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, QUIET_MS);
  });
  dialog.addEventListener("keydown", onKey);
  const open = () => {
    dialog.showModal();
    form.elements.q.select();
  };
  document.querySelector("[data-jump]").addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // another tab is meant
    event.preventDefault();
    open();
  });
  return open;
}
