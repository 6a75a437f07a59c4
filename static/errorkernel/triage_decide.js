// Decides groups in place. The forms work without this; with it a decision can be undone for four seconds, and the group
// shows its progress where it is.

import { announce } from "./announce.js";
import { FETCHED, postForm, postLeaving } from "./form_post.js";
import { text } from "./texts.js";
import { isHeld, press, say, sendHeld, undo } from "./undo.js";

const REJECTIONS = new Map([
  [401, "decide-401"],
  [403, "decide-403"],
  [404, "decide-404"],
]);

const groupOf = (element) => element.closest("[data-group]");
const reasonOf = (form) => form.querySelector("[name=reason]");
const ticked = (form) => document.querySelectorAll(`input[name=incident][form="${form.id}"]:checked`);

function randomId() {
  // crypto.randomUUID exists on secure origins only, and a console on a local network may have none.
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class TriageDecisions {
  constructor(triage) {
    this.triage = triage;
    for (const form of triage.area.querySelectorAll("[data-decide]")) form.noValidate = true;
    document.addEventListener("submit", (event) => this.onSubmit(event));
    triage.area.addEventListener("keydown", (event) => this.onKey(event));
    triage.area.addEventListener("change", (event) => this.onChange(event));
    triage.area.addEventListener("click", (event) => this.onClick(event));
  }

  onSubmit(event) {
    const { target: form, submitter: button } = event;
    if (form.matches("[data-decide]") && button?.name === "action") {
      event.preventDefault();
      this.decide(form, button);
    } else if (form.matches("[data-take-form], [data-bulk]")) {
      event.preventDefault();
      if (button?.getAttribute("aria-disabled") !== "true") this.post(form, button);
    }
  }

  // `button` of `form` is pressed: by pointer, by Enter on it, or by its key.
  decide(form, button) {
    if (!isHeld(form)) {
      if (button.getAttribute("aria-disabled") === "true") return;
      if (button.value !== "continue" && !reasonOf(form).value.trim()) return this.askReason(form, button);
      if (!hasChosen(form)) return this.askChoice(form);
      showInvalid(form, false);
    }
    press(form, button, (...held) => this.send(...held));
    return undefined;
  }

  // To kill and to stop need a reason: the next Enter in its field presses the button.
  askReason(form, button) {
    form.dataset.armed = button.value;
    announce(text("give-reason", { action: button.querySelector("span").textContent }));
    const words = text("give-reason", { action: button.querySelector("span").textContent });
    say(form, words);
    reasonOf(form).focus();
  }

  askChoice(form) {
    say(form, text("choose-some"), { isBad: true });
    announce(text("choose-some"));
    this.triage.toggle(groupOf(form), true);
  }

  async send(form, { button, body, isLeaving }) {
    const address = form.getAttribute("action");
    if (isLeaving) return postLeaving(address, body);
    button.setAttribute("aria-busy", "true");
    try {
      const response = await postForm(address, body);
      await this.afterDecision(form, response);
    } catch {
      say(form, text("decide-unsent"), { isBad: true });
      announce(text("decide-unsent"));
    } finally {
      button.removeAttribute("aria-busy");
    }
    return undefined;
  }

  async afterDecision(form, response) {
    if (response.ok) {
      // The bar may decide what is left: that is another request.
      form.elements.request_id.value = randomId();
      reasonOf(form).value = "";
      delete form.dataset.armed;
      for (const box of ticked(form)) box.checked = false;
    } else {
      const isExplained = response.headers.has(FETCHED);
      const known = REJECTIONS.get(response.status);
      const words = isExplained ? await response.text() : text(known ?? "decide-failed", { status: String(response.status) });
      say(form, words, { isBad: true });
      announce(words);
    }
    await this.triage.refresh(response.ok ? groupOf(form)?.dataset.group : null);
  }

  // Take, give back, apply the rest, keep the rest: at once, since all of these can be taken back.
  async post(form, button) {
    const address = button?.getAttribute("formaction") ?? form.getAttribute("action");
    button?.setAttribute("aria-busy", "true");
    try {
      const response = await postForm(address, new FormData(form, button), { redirect: "manual" });
      if (!response.ok && response.type !== "opaqueredirect")
        announce(text("decide-failed", { status: String(response.status) }));
      await this.triage.refresh(groupOf(form).dataset.group);
    } catch {
      announce(text("decide-unsent"));
    } finally {
      button?.removeAttribute("aria-busy");
    }
  }

  onKey(event) {
    const form = event.target.closest?.("[data-decide]");
    if (!form || event.target.name !== "reason" || event.isComposing) return;
    if (event.key === "Enter") {
      event.preventDefault();
      if (sendHeld(form)) return;
      const armed = form.dataset.armed && form.querySelector(`[name=action][value=${form.dataset.armed}]`);
      if (!armed) return say(form, text("press-button"));
      if (!reasonOf(form).value.trim()) return showInvalid(form, true);
      groupOf(form).focus({ preventScroll: true });
      this.decide(form, armed);
    } else if (event.key === "Escape") {
      delete form.dataset.armed;
      showInvalid(form, false);
      say(form, "");
      groupOf(form).focus({ preventScroll: true });
    }
    return undefined;
  }

  // Ticking a process means to choose it.
  onChange(event) {
    const { target } = event;
    if (target.name !== "incident" && !target.matches(".choose select")) return;
    const { form } = target;
    const chosen = form.querySelector("[name=scope][value=chosen]");
    if (chosen && !isHeld(form)) chosen.checked = true;
    const count = ticked(form).length;
    form.querySelector("[data-ticked]").textContent = count ? text("ticked", { count }) : "";
    say(form, "");
  }

  onClick(event) {
    // The second click of a double click is no wish to undo.
    const pressed = event.detail > 1 && event.target.closest("[data-decide] [name=action]");
    if (pressed && isHeld(pressed.form)) event.preventDefault();
    const link = event.target.closest("[data-expand], [data-show-more], [data-collapse]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const group = groupOf(link);
    if (link.matches("[data-show-more]")) this.triage.more(group);
    else this.triage.toggle(group, link.matches("[data-expand]") ? undefined : false);
  }

  // Decide by a key: for a process of an expanded group, that process alone.
  pressKey(action, group, row) {
    const form = group.querySelector("[data-decide]");
    const button = form?.querySelector(`[name=action][value=${action}]`);
    if (!button) return;
    if (row && !isHeld(form)) this.chooseAlone(form, row);
    if (action === "continue" || isHeld(form)) this.decide(form, button);
    else this.askReason(form, button);
  }

  chooseAlone(form, row) {
    for (const box of ticked(form)) box.checked = false;
    const box = row.querySelector("input");
    if (box.disabled) return;
    box.checked = true;
    box.dispatchEvent(new Event("change", { bubbles: true }));
  }

  undo(group) {
    const form = group?.querySelector("[data-decide]");
    const undone = form && isHeld(form) ? undo(form) : undo();
    groupOf(undone ?? document.body)?.focus();
  }
}

// With the scope "choose", something has to be chosen.
function hasChosen(form) {
  if (form.elements.scope?.value !== "chosen") return true;
  return ticked(form).length > 0 || [...form.querySelectorAll(".choose select")].some((field) => field.value);
}

function showInvalid(form, isInvalid) {
  const field = reasonOf(form);
  if (isInvalid) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}
