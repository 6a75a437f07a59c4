// What the reader chooses in the menu of the account: colours, zone of times, single-letter keys. Kept by the browser.

import { remember, remembered } from "./storage.js";

const DEFAULTS = { theme: "auto", zone: "utc", keys: "on" };
const watchers = [];

export const chosen = (name) => remembered(name) ?? DEFAULTS[name];

// Runs `then` with each new choice of `name`.
export const onChoice = (name, then) => watchers.push([name, then]);

function show() {
  for (const group of document.querySelectorAll("[data-choice]")) {
    const value = chosen(group.dataset.choice);
    for (const button of group.querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.value === value));
  }
}

export function choose(name, value) {
  remember(name, value);
  show();
  for (const [watched, then] of watchers) if (watched === name) then(value);
}

function applyTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function startChoices() {
  onChoice("theme", applyTheme);
  for (const group of document.querySelectorAll("[data-choice]")) {
    group.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) choose(group.dataset.choice, button.value);
    });
  }
  show();
}
