// One card of an incident: found by its id, and replaced in place when the incident changes.

import { arm, findNoticePlace, isUnsent, prepareForm } from "./decision_form.js";
import { parseFragment, replaceElement, restoreFocus, saveFocus } from "./fragments.js";

export const CLOSED_UNSENT = "closed-unsent"; // event of the document: an incident closed while its decision is unsent

export const findCard = (id) => document.getElementById(`incident-${id}`);
export const isPending = (card) => card.dataset.state === "open";
export const changeOf = (card) => Number(card.dataset.change);

// Put the card that `html` is in the place of the one that is shown; an older one is not put there.
// `isResponse`: it is the response to a form of ours, so it may repeat the state that is shown already.
export function replaceCard(html, { isResponse = false } = {}) {
  const card = parseFragment(html).querySelector(".incident");
  const old = card && findCard(card.dataset.id);
  if (!old || changeOf(card) < changeOf(old) || (!isResponse && changeOf(card) === changeOf(old))) return;
  keepInput(old, card);
  const focus = saveFocus(old);
  // The card keeps its height while somebody is on it: a button of the next one must not slide under the pointer.
  const height = old.getBoundingClientRect().height;
  replaceElement(old, card);
  prepareForm(card);
  if (card.getBoundingClientRect().height < height) card.style.minHeight = `${height}px`;
  restoreFocus(card, focus);
  if (!isPending(card) && isUnsent(card.dataset.id)) {
    document.dispatchEvent(new CustomEvent(CLOSED_UNSENT, { detail: card.dataset.id }));
  }
}

// What the reader typed, armed or has still to read goes with the card.
function keepInput(old, card) {
  const typed = old.querySelector("[name=reason]");
  const field = card.querySelector("[name=reason]");
  if (typed && field && !field.value) {
    field.value = typed.value;
    card.querySelector("[name=request_id]").value = old.querySelector("[name=request_id]").value;
    if (old.querySelector(".armed")) arm(card);
  }
  const notice = old.querySelector(".notice");
  if (!notice || card.querySelector(".notice")) return;
  // "Decide again" stays for as long as that can be done; any other notice, when it no longer can.
  if (isUnsent(card.dataset.id) === isPending(card)) findNoticePlace(card).before(notice);
}
