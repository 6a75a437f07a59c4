// Which columns a list shows, and how high its rows are: kept in this browser. theme.js sets both before the first paint.

import { remember } from "./storage.js";
import { text } from "./texts.js";

export function startListOptions() {
  const options = document.querySelector("[data-list-options]");
  if (!options) return;
  const root = document.documentElement;
  const boxes = [...options.querySelectorAll("[data-column]")];
  const hidden = () => (root.dataset.hide ?? "").split(" ");
  for (const box of boxes) {
    box.checked = !hidden().includes(box.dataset.column);
    box.addEventListener("change", () => {
      const names = boxes.filter((one) => !one.checked).map((one) => one.dataset.column);
      root.dataset.hide = names.join(" ");
      remember("hide", root.dataset.hide);
    });
  }
  const density = document.querySelector("button[data-density]");
  const show = () => {
    const isComfortable = root.dataset.density === "comfortable";
    density.textContent = text(isComfortable ? "compact" : "comfortable");
  };
  density.addEventListener("click", () => {
    root.dataset.density = root.dataset.density === "comfortable" ? "compact" : "comfortable";
    remember("density", root.dataset.density);
    show();
  });
  show();
}
