// The selected rows of a list: how many, what is pending on them, and the buttons that change them.

import { number, text } from "./texts.js";

export function startSelection() {
  const bar = document.querySelector("[data-selection]");
  if (!bar) return;
  const boxes = [...document.querySelectorAll(`input[type=checkbox][form="${bar.id}"]`)];
  const all = document.querySelector("[data-select-all]");
  const count = bar.querySelector("[data-selected]");
  const pending = bar.querySelector("[data-selected-pending]");
  const clear = bar.querySelector("[data-clear]");
  const buttons = [...bar.querySelectorAll("button[name=action]")];
  const none = count.textContent;
  const show = () => {
    const chosen = boxes.filter((box) => box.checked);
    const blocked = chosen.filter((box) => box.dataset.pending);
    const processes = blocked.reduce((sum, box) => sum + Number(box.dataset.pending), 0);
    bar.classList.toggle("has-selection", chosen.length > 0);
    count.textContent = chosen.length ? text("selected-rows", { count: chosen.length }) : none;
    pending.textContent = blocked.length ? text("selected-pending", { count: processes, problems: number(blocked.length) }) : "";
    for (const button of buttons) button.disabled = !chosen.length;
    if (!all) return;
    all.checked = chosen.length === boxes.length;
    all.indeterminate = chosen.length > 0 && !all.checked;
  };
  const setAll = (checked) => {
    for (const box of boxes) box.checked = checked;
    show();
  };
  if (all) {
    all.hidden = false;
    all.addEventListener("change", () => setAll(all.checked));
  }
  clear.hidden = false;
  clear.addEventListener("click", () => setAll(false));
  for (const box of boxes) box.addEventListener("change", show);
  // The browser fills the boxes in again when one comes back to the page.
  addEventListener("pageshow", show);
  show();
}
