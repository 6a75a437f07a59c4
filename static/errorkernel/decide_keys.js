// Keys that decide: the card that has the focus, or the one decide bar of a page.

import { arm } from "./decision_form.js";

const mayDecide = () => document.body.dataset.mayDecide === "yes";
const isOff = (button) => !button || button.disabled || button.getAttribute("aria-disabled") === "true";

function currentForm() {
  const focused = document.activeElement;
  const card = focused?.closest(".incident");
  if (card) return card.querySelector("form.decide");
  const all = document.querySelectorAll("main form.decide");
  return focused?.closest("form.decide") ?? (all.length === 1 ? all[0] : null);
}

export function decideContinue() {
  const form = mayDecide() ? currentForm() : null;
  const button = form?.querySelector("button.continue");
  if (isOff(button)) return false;
  form.requestSubmit(button);
  return true;
}

// Kill and stop need a reason: the next Enter in its field presses the button.
export function askForReason(action) {
  const form = mayDecide() ? currentForm() : null;
  if (!form?.elements.reason || isOff(form.querySelector(`button.${action}`))) return false;
  arm(form, action);
  form.elements.reason.focus();
  return true;
}
