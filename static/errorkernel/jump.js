// Ctrl-K: a few letters to a node, a process or a problem. The link in the strip leads to the same as a page.

import { fragment } from "./rows.js";
import { text } from "./texts.js";

const QUIET_MS = 120;

export function startJump() {
  const dialog = document.getElementById("jump");
  const form = dialog.querySelector("form");
  const found = dialog.querySelector("[data-found]");
  let timer = null;
  let asking = null;
  let answered = null; // the text whose answer stands below the field

  async function ask() {
    clearTimeout(timer);
    asking?.abort();
    asking = new AbortController();
    const wanted = form.elements.q.value;
    const address = `${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`;
    try {
      const response = await fetch(address, { headers: { "X-Steward-Card": "1" }, signal: asking.signal });
      if (!response.ok) throw new Error(response.statusText);
      found.replaceChildren(fragment(await response.text()));
      answered = wanted;
    } catch (error) {
      if (error.name === "AbortError") return;
      found.textContent = text("jump-failed");
      answered = null;
    }
  }

  const links = () => [...found.querySelectorAll("a")];

  // To the first that is found for what stands in the field: what is below it may still be of the text before.
  async function jump() {
    const wanted = form.elements.q.value;
    if (answered !== wanted) await ask();
    if (answered === wanted && form.elements.q.value === wanted && dialog.open) links()[0]?.click();
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
    timer = setTimeout(ask, QUIET_MS);
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
