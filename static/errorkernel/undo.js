// A decision is held in the browser for four seconds before it is sent. Until then it can be undone; a second Enter sends
// it at once, and so does leaving the page. The pressed button keeps its place and its box; only its word changes.

import { announce } from "./announce.js";
import { text } from "./texts.js";

const HOLD_MS = 4_000;
const held = new Map(); // form → Held

class Held {
  // send(form, { button, body, isLeaving }): called once, unless the decision is undone before. `body`: the form as it was
  // when the button was pressed.
  constructor(form, button, send) {
    this.form = form;
    this.button = button;
    this.send = send;
    this.body = new FormData(form, button);
    this.at = Date.now();
    this.label = button.querySelector("span").textContent;
    this.key = button.querySelector("kbd")?.textContent;
    this.timer = setTimeout(() => this.finish(), HOLD_MS);
    this.ticking = setInterval(() => this.show(), 250);
    this.show();
  }

  show() {
    setLabel(this.button, text("undo"), "u");
    this.button.setAttribute("aria-busy", "true");
    for (const other of this.form.querySelectorAll("[name=action]")) {
      if (other !== this.button) other.setAttribute("aria-disabled", "true");
    }
    const left = Math.max(1, Math.ceil((this.at + HOLD_MS - Date.now()) / 1000));
    say(this.form, text("held", { action: this.label, count: left }));
  }

  // Take the decision back from the form, before it is sent or instead of that.
  release() {
    clearTimeout(this.timer);
    clearInterval(this.ticking);
    held.delete(this.form);
    setLabel(this.button, this.label, this.key);
    for (const button of this.form.querySelectorAll("[name=action]")) {
      button.removeAttribute("aria-busy");
      button.removeAttribute("aria-disabled");
    }
    say(this.form, "");
  }

  finish(isLeaving = false) {
    this.release();
    this.send(this.form, { button: this.button, body: this.body, isLeaving });
  }
}

function setLabel(button, word, key) {
  const label = button.querySelector("span");
  if (label.textContent !== word) label.textContent = word;
  const hint = button.querySelector("kbd");
  if (hint && key && hint.textContent !== key) hint.textContent = key;
}

// What the script has to say in the place of the line about the effect; empty: that line again.
export function say(form, words, { isBad = false } = {}) {
  const line = form.querySelector("[data-said]");
  if (!line) return;
  if (line.textContent !== words) line.textContent = words;
  line.hidden = !words;
  line.classList.toggle("field-error", isBad);
}

export const isHeld = (form) => held.has(form);

// `button` of `form` has been pressed: hold the decision, or undo the one that is held.
export function press(form, button, send) {
  const present = held.get(form);
  if (!present) {
    held.set(form, new Held(form, button, send));
    announce(text("held", { action: held.get(form).label, count: HOLD_MS / 1000 }));
  } else if (button === present.button) {
    undo(form);
  }
}

// Undo the decision that `form` holds, or without a form the latest one. Returns the form, or null.
export function undo(form = [...held.keys()].pop()) {
  const present = held.get(form);
  if (!present) return null;
  present.release();
  announce(text("undone", { action: present.label }));
  return form;
}

// Send what `form` holds at once. Returns whether there was something.
export function sendHeld(form) {
  const present = held.get(form);
  present?.finish();
  return Boolean(present);
}

// Somebody else was faster: what `form` holds is not sent. Returns the word of the button, or null.
export function dropHeld(form) {
  const present = held.get(form);
  present?.release();
  return present?.label ?? null;
}

addEventListener("pagehide", () => {
  for (const present of [...held.values()]) present.finish(true);
});
