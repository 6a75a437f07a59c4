// Decides incidents in place. The forms work without this; with it the card changes where it is.

import { armedButton, disarm, forgetUnsent, getUnsent, isUnsent, keepUnsent, showNotice } from "./decision_form.js";
import { FETCHED, postForm } from "./form_post.js";
import { CLOSED_UNSENT, patchCard } from "./incident_card.js";
import { text } from "./texts.js";

const RETRY_MS = 2000;

const REJECTIONS = new Map([
  [401, text("decide-401")],
  [403, text("decide-403")],
  [404, text("decide-404")],
]);

// Not form.action: the buttons are called "action", and hide it.
const postCard = (form, button) => postForm(form.getAttribute("action"), new FormData(form, button));

const idOf = (form) => form.closest(".incident").dataset.id;

// `id`: of the incident. The form of a decision that is sent again is no longer part of its card. Returns the HTTP status.
async function send(id, form, button) {
  const response = await postCard(form, button);
  if (response.headers.has(FETCHED)) {
    const html = await response.text();
    forgetUnsent(id);
    patchCard(html, { isResponse: true });
    document.dispatchEvent(new Event("decided"));
  } else {
    if (response.status >= 500) keepUnsent(id, form, button);
    showNotice(id, REJECTIONS.get(response.status) ?? text("decide-failed", { status: String(response.status) }));
  }
  return response.status;
}

// An incident with an unsent decision is no longer pending. Sent again the decision changes nothing any more, and the
// server's response shows whether it is the one that counts.
async function resend(id) {
  const { form, button } = getUnsent(id);
  try {
    const status = await send(id, form, button);
    if (status === 409) showNotice(id, text("decide-lost", { action: button.value }));
  } catch {
    setTimeout(() => isUnsent(id) && resend(id), RETRY_MS);
  }
}

async function onSubmit(event) {
  const form = event.target;
  const button = event.submitter;
  if (!form.matches(".incident form.decide") || !button?.value) return;
  event.preventDefault();
  if (form.dataset.busy) return; // a double click
  form.dataset.busy = "1";
  button.setAttribute("aria-busy", "true");
  try {
    await send(idOf(form), form, button);
  } catch {
    keepUnsent(idOf(form), form, button);
    showNotice(idOf(form), text("decide-unsent"));
  } finally {
    delete form.dataset.busy;
    button.removeAttribute("aria-busy");
  }
}

function onKey(event) {
  const form = event.target.closest?.("form.decide");
  if (!form || event.target.name !== "reason" || event.isComposing) return;
  if (event.key === "Enter" && form.classList.contains("armed")) {
    event.preventDefault();
    form.requestSubmit(armedButton(form));
  } else if (event.key === "Escape") {
    disarm(form);
  }
}

export function startDecisions() {
  document.addEventListener("submit", onSubmit);
  document.addEventListener("keydown", onKey);
  document.addEventListener(CLOSED_UNSENT, (event) => resend(event.detail));
  document.addEventListener("focusout", (event) => {
    const form = event.target.closest?.("form.decide.armed");
    if (form && !form.contains(event.relatedTarget)) disarm(form);
  });
}
