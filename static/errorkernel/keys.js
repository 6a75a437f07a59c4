// The keys of every page, and those that a page declares itself. Single letters, digits and signs act only outside fields
// and can be switched off in the menu of the account (WCAG 2.1.4). Enter, Esc, Space and Ctrl-K always act.

import { chosen } from "./choices.js";
import { askForReason, decideContinue } from "./decide_keys.js";
import { closeMenus } from "./menu.js";

const SEQUENCE_MS = 1_500; // so long after g its second letter is waited for
const REPEATED = "jk"; // keys that may be held down
const FIELDS = "input:not([type=checkbox], [type=radio]), select, textarea, [contenteditable]";
const CONTROLS = "button, .button, summary, select, input:not([type=hidden])";
const ACTIONS = "[data-actions], form.decide, .actionbar, .switches, .head .right";

const main = document.getElementById("main");

const stops = () =>
  [...document.querySelectorAll(".incident, .group, .event .text, .rows tbody tr")]
    .map((element) => (element.matches("tr:not([tabindex])") ? element.querySelector("a") : element))
    .filter((element) => element?.checkVisibility());

// The incident, group or row that has the focus.
function here() {
  const focused = document.activeElement;
  return focused?.closest(".incident, [data-member]") ?? focused?.closest(".group") ?? focused;
}

function move(step) {
  const all = stops();
  const at = all.indexOf(here());
  const next = all[at === -1 ? (step > 0 ? 0 : all.length - 1) : at + step];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

// The field by which this page's list is searched or filtered, if it has one.
const searchField = () =>
  [...document.querySelectorAll('main [role="search"] input:not([type="hidden"])')].find((field) => field.checkVisibility());

// To the first control of the row, group or incident that has the focus; without one, of the page.
function openActions() {
  const thing = document.activeElement?.closest(".incident, .group, tr") ?? main;
  const places = thing.matches("tr") ? [thing] : [...thing.querySelectorAll(ACTIONS)];
  const controls = places.flatMap((place) => [...place.querySelectorAll(CONTROLS)]);
  const control = controls.find((one) => one.checkVisibility() && !one.disabled && !one.readOnly);
  if (!control) return false;
  control.focus();
  const list = control.matches("summary") && control.parentElement;
  if (list) list.open = true;
  return true;
}

const isPaletteKey = (event) =>
  (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k";

const isSign = (key) => key.length === 1 && key !== " ";

// A key of the browser, of a dialog or of a field, one that is switched off, or one that is held down where once is meant.
function isForAnother(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return true;
  if (event.repeat && !REPEATED.includes(event.key)) return true;
  if (document.querySelector("dialog[open]")) return true;
  if (isSign(event.key) && chosen("keys") === "off") return true;
  return Boolean(event.target.closest?.(FIELDS));
}

// Esc leaves the list that is open over the page, or else the field.
function leave(event) {
  if (event.isComposing || document.querySelector("dialog[open]")) return;
  if (!closeMenus()) {
    if (event.defaultPrevented || !event.target.closest?.(FIELDS)) return;
    const thing = event.target.closest(".incident, .group");
    (thing ?? main).focus({ preventScroll: true });
  }
  event.preventDefault();
}

// What the letter after g leads to: a link in the navigation.
class Sequence {
  constructor() {
    this.startedAt = 0;
  }

  start() {
    this.startedAt = Date.now();
  }

  // Whether `key` was its second letter.
  follow(key) {
    const isWaiting = Date.now() - this.startedAt < SEQUENCE_MS;
    this.startedAt = 0;
    const link = isWaiting && /^\w$/.test(key) && document.querySelector(`[data-go="${key}"]`);
    if (link) link.click();
    return Boolean(link);
  }
}

const isListed = {
  "/": () => Boolean(searchField()),
  j: () => stops().length > 0,
  c: () => Boolean(document.querySelector("form.decide")),
};

// The dialog with the keys of this page: those that it has, and where g leads.
function explain() {
  const help = document.getElementById("help");
  for (const line of help.querySelectorAll("[data-key]")) line.hidden = !(isListed[line.dataset.key]?.() ?? true);
  help.querySelector("[data-keys-off]").hidden = chosen("keys") !== "off";
  const pages = [...document.querySelectorAll("[data-go]")].map((link) => {
    const line = document.createElement("div");
    const [keys, name] = [document.createElement("dt"), document.createElement("dd")];
    for (const key of ["g", link.dataset.go]) {
      keys.append(Object.assign(document.createElement("kbd"), { textContent: key }), " ");
    }
    name.textContent = link.firstElementChild.textContent;
    line.append(keys, name);
    return line;
  });
  help.querySelector("[data-goes]").replaceChildren(...pages);
  help.showModal();
}

// `ownKeys`: those of this page alone, key → action; an action that returns false leaves the key to the browser.
export function startKeys({ onPause, onPalette, ownKeys }) {
  const sequence = new Sequence();
  const actions = {
    j: () => move(1),
    k: () => move(-1),
    c: decideContinue,
    x: () => askForReason("kill"),
    s: () => askForReason("stop"),
    p: onPause,
    g: () => sequence.start(),
    "/": () => searchField()?.select(),
    ".": openActions,
    "?": explain,
    ...ownKeys,
  };
  for (const button of document.querySelectorAll("[data-help]")) button.addEventListener("click", explain);
  document.addEventListener("keydown", (event) => {
    if (isPaletteKey(event)) {
      event.preventDefault();
      onPalette();
    } else if (event.key === "Escape") {
      leave(event);
    } else if (!isForAnother(event)) {
      const isDone = sequence.follow(event.key) || runs(actions[event.key]) || opensCard(event);
      if (isDone) event.preventDefault();
    }
  });
}

const runs = (action) => action !== undefined && action() !== false;

function opensCard(event) {
  if (event.key !== "Enter" || !event.target.matches?.(".incident")) return false;
  event.target.querySelector("h3 a").click();
  return true;
}

// Keys act at once, and reading starts with the content: the navigation is one Shift+Tab away. A field that asks for the
// focus has it: the browser would give it only after this script, and then no more.
export function focusMain() {
  const focused = document.activeElement;
  if ((focused && focused !== document.body) || location.hash) return;
  const field = main.querySelector("[autofocus]");
  if (field) field.focus();
  else main.focus({ preventScroll: true });
}
