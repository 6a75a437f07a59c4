// The form by which an incident is decided, as a part of its card: prepared, armed for a kill, given a notice.

import { text } from "./texts.js";

const unsent = new Map(); // incident → { form, button } of a decision of which nobody knows whether it arrived

export const isUnsent = (id) => unsent.has(id);
export const getUnsent = (id) => unsent.get(id);
export const keepUnsent = (id, form, button) => unsent.set(id, { form, button });
export const forgetUnsent = (id) => unsent.delete(id);

function randomId() {
  // crypto.randomUUID exists on secure origins only, and a console on a local network may have none.
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A pushed card is rendered once for everybody: the reader's own token and a fresh id are put in here.
export function prepareForm(card) {
  const form = card.querySelector("form.decide");
  if (!form) return;
  const token = document.querySelector("[name=csrfmiddlewaretoken]");
  if (token && !form.elements.csrfmiddlewaretoken) form.prepend(token.cloneNode());
  if (!form.elements.request_id.value) form.elements.request_id.value = randomId();
  if (!form.elements.next.value) form.elements.next.value = location.pathname + location.search;
}

const armed = new WeakMap(); // form → what the next Enter in its reason field presses, and the words that stood there

export function arm(form, action) {
  const { reason } = form.elements;
  armed.set(form, { action, words: armed.get(form)?.words ?? reason.placeholder });
  form.classList.add("armed");
  reason.placeholder = text(action === "stop" ? "reason-then-stop" : "reason-then-kill");
}

export const armedButton = (form) => form.querySelector(`button.${armed.get(form).action}`);

export function disarm(form) {
  if (!armed.has(form)) return;
  form.classList.remove("armed");
  form.elements.reason.placeholder = armed.get(form).words;
  armed.delete(form);
}

// Before what a notice stands on a card.
export const findNoticePlace = (card) => card.querySelector("form.decide, .timeline");

export function showNotice(id, message) {
  const card = document.getElementById(`incident-${id}`);
  if (!card) return;
  let line = card.querySelector(".notice");
  if (!line) {
    line = document.createElement("p");
    line.className = "notice";
    line.dataset.own = "1";
    line.setAttribute("role", "alert");
    findNoticePlace(card).before(line);
  }
  line.textContent = message;
}
