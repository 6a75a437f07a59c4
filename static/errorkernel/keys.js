// Keys: j k move, c continues, x asks for the reason to kill, p pauses, / searches, Ctrl-K jumps, ? explains.

import { arm } from "./decision_form.js";

const stops = () =>
  [...document.querySelectorAll(".incident, .event .text, .rows tbody tr")]
    .map((element) => (element.matches("tr") ? element.querySelector("a") : element))
    .filter((element) => element?.checkVisibility());

function here() {
  const focused = document.activeElement;
  return focused?.closest(".incident") ?? focused;
}

function move(step) {
  const all = stops();
  const at = all.indexOf(here());
  const next = all[at === -1 ? (step > 0 ? 0 : all.length - 1) : at + step];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

const mayDecide = () => document.body.dataset.mayDecide === "yes";

function decideContinue() {
  const button = document.activeElement?.closest(".incident")?.querySelector("button.continue");
  if (button && mayDecide()) button.form.requestSubmit(button);
}

function askForKillReason() {
  const card = document.activeElement?.closest(".incident");
  const field = card?.querySelector("[name=reason]");
  if (!field || !mayDecide()) return;
  arm(card);
  field.focus();
}

// The field by which this page's list is searched or filtered, if it has one.
const searchField = () =>
  [...document.querySelectorAll('main [role="search"] input:not([type="hidden"])')].find((field) => field.checkVisibility());

const search = () => searchField()?.select();

const isPaletteKey = (event) =>
  (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k";

// A key of the browser, of a dialog or of a field, or one that is held down where once is meant.
function isForAnother(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return true;
  if (event.repeat && !"jk".includes(event.key)) return true;
  if (document.querySelector("dialog[open]")) return true;
  return Boolean(event.target.closest?.("input, select, textarea, [contenteditable]"));
}

export function startKeys({ onPause, onPalette }) {
  const help = document.getElementById("help");
  const buttons = document.querySelectorAll("[data-help]");
  const explain = () => {
    help.querySelector('[data-key="/"]').hidden = !searchField();
    help.showModal();
  };
  const actions = {
    j: () => move(1),
    k: () => move(-1),
    c: decideContinue,
    x: askForKillReason,
    p: onPause,
    "/": search,
    "?": explain,
  };
  for (const button of buttons) button.addEventListener("click", explain);
  document.addEventListener("keydown", (event) => {
    if (isPaletteKey(event)) {
      event.preventDefault();
      onPalette();
      return;
    }
    if (isForAnother(event)) return;
    if (event.key === "Enter" && event.target.matches?.(".incident")) event.target.querySelector("h3 a").click();
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
