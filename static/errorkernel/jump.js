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

  async function ask() {
    asking?.abort();
    asking = new AbortController();
    const address = `${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`;
    try {
      const response = await fetch(address, { headers: { "X-Steward-Card": "1" }, signal: asking.signal });
      if (!response.ok) throw new Error(response.statusText);
      found.replaceChildren(fragment(await response.text()));
    } catch (error) {
      if (error.name !== "AbortError") found.textContent = text("jump-failed");
    }
  }

  const links = () => [...found.querySelectorAll("a")];

  function onKey(event) {
    const all = links();
    const at = all.indexOf(document.activeElement);
    if (event.key === "ArrowDown") (all[at + 1] ?? all[0])?.focus();
    else if (event.key === "ArrowUp") (at > 0 ? all[at - 1] : form.elements.q).focus();
    else if (event.key === "Enter" && event.target === form.elements.q && all.length) all[0].click();
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
