// One card of an incident: found by its id, and patched when the incident changes.

import { isUnsent, prepareForm } from "./decision_form.js";
import { parseFragment } from "./fragments.js";
import { patchElement } from "./patch.js";

export const CLOSED_UNSENT = "closed-unsent"; // event of the document: an incident closed while its decision is unsent

export const findCard = (id) => document.getElementById(`incident-${id}`);
export const isPending = (card) => card.dataset.state === "open";
export const changeOf = (card) => Number(card.dataset.change);

// Make the card that is shown equal to the one that `html` is, unless that is older.
// `isResponse`: it is the response to a form of ours, so it may repeat the state that is shown already.
export function patchCard(html, { isResponse = false } = {}) {
  const fresh = parseFragment(html).querySelector(".incident");
  const card = fresh && findCard(fresh.dataset.id);
  if (!card || changeOf(fresh) < changeOf(card) || (!isResponse && changeOf(fresh) === changeOf(card))) return;
  dropNotice(card, fresh);
  prepareForm(fresh);
  // The card keeps its height while somebody is on the list: a button of the next one must not slide under the pointer.
  const height = card.getBoundingClientRect().height;
  patchElement(card, fresh);
  if (card.getBoundingClientRect().height < height) card.style.minHeight = `${height}px`;
  if (!isPending(fresh) && isUnsent(fresh.dataset.id)) {
    document.dispatchEvent(new CustomEvent(CLOSED_UNSENT, { detail: fresh.dataset.id }));
  }
}

// "Decide again" stays for as long as that can be done; any other notice, when it no longer can.
function dropNotice(card, fresh) {
  if (isUnsent(fresh.dataset.id) !== isPending(fresh)) card.querySelector(".notice[data-own]")?.remove();
}
