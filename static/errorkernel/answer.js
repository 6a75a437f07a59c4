// Answering in place. The forms work without this; with it the card changes where it stands.

import { replace } from "./cards.js";
import { renewLogin } from "./login.js";
import { text } from "./texts.js";

const MARK = "X-Steward-Card";
const AGAIN_MS = 2000;
const unsent = new Map(); // incident → [form, button] of an answer of which nobody knows whether it arrived

function randomId() {
  // crypto.randomUUID exists on secure origins only, and a console on a local network may have none.
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A pushed card is rendered once for everybody: the reader's own token and a fresh id are put in here.
export function makeReady(card) {
  const form = card.querySelector("form.answer");
  if (!form) return;
  const token = document.querySelector("[name=csrfmiddlewaretoken]");
  if (token && !form.elements.csrfmiddlewaretoken) form.prepend(token.cloneNode());
  if (!form.elements.request_id.value) form.elements.request_id.value = randomId();
  if (!form.elements.next.value) form.elements.next.value = location.pathname + location.search;
}

// The next Enter in the reason field kills.
export function arm(card) {
  const form = card.querySelector("form.answer");
  if (!form) return;
  form.classList.add("armed");
  form.elements.reason.placeholder = text("reason-then-enter");
}

export function disarm(form) {
  form.classList.remove("armed");
  form.elements.reason.placeholder = text("reason");
}

function notice(id, said) {
  const card = document.getElementById(`incident-${id}`);
  if (!card) return;
  let line = card.querySelector(".notice");
  if (!line) {
    line = document.createElement("p");
    line.className = "notice";
    line.setAttribute("role", "alert");
    card.querySelector("form.answer, .truth").before(line);
  }
  line.textContent = said;
}

const REFUSALS = new Map([
  [401, text("answer-401")],
  [403, text("answer-403")],
  [404, text("answer-404")],
]);

function post(form, button) {
  // Not form.action: the buttons are called "action", and hide it.
  const body = new FormData(form, button);
  body.set("csrfmiddlewaretoken", document.querySelector("[name=csrfmiddlewaretoken]").value);
  return fetch(form.getAttribute("action"), { method: "POST", body, headers: { [MARK]: "1" }, redirect: "error" });
}

// Refused may mean that the reader has logged in anew since this page was made.
async function postAsWhoIsLoggedIn(form, button) {
  const response = await post(form, button);
  if (response.status !== 403) return response;
  const login = await renewLogin();
  if (login === "same") return post(form, button);
  return login === "out" ? new Response(null, { status: 401 }) : response;
}

const idOf = (form) => form.closest(".incident").dataset.id;

// Returns the status of the answer's answer.
async function send(form, button) {
  const id = idOf(form);
  const response = await postAsWhoIsLoggedIn(form, button);
  if (response.headers.has(MARK)) {
    const html = await response.text();
    unsent.delete(id);
    replace(html, { isAnswer: true });
    document.dispatchEvent(new Event("answered"));
  } else {
    if (response.status >= 500) unsent.set(id, [form, button]);
    notice(id, REFUSALS.get(response.status) ?? text("answer-failed", { status: String(response.status) }));
  }
  return response.status;
}

export const isUnsent = (id) => unsent.has(id);

// A question with an unsent answer is no longer open. Sent again the answer changes nothing any more, and the server
// tells whether it is the one that counts.
export async function settle(id) {
  const [form, button] = unsent.get(id);
  try {
    const status = await send(form, button);
    if (status === 409) notice(id, text("answer-lost", { action: button.value }));
  } catch {
    setTimeout(() => unsent.has(id) && settle(id), AGAIN_MS);
  }
}

async function onSubmit(event) {
  const form = event.target;
  const button = event.submitter;
  if (!form.matches(".incident form.answer") || !button?.value) return;
  event.preventDefault();
  if (form.dataset.busy) return; // a double click
  form.dataset.busy = "1";
  button.setAttribute("aria-busy", "true");
  try {
    await send(form, button);
  } catch {
    unsent.set(idOf(form), [form, button]);
    notice(idOf(form), text("answer-unsent"));
  } finally {
    delete form.dataset.busy;
    button.removeAttribute("aria-busy");
  }
}

function onKey(event) {
  const form = event.target.closest?.("form.answer");
  if (!form || event.target.name !== "reason" || event.isComposing) return;
  if (event.key === "Enter" && form.classList.contains("armed")) {
    event.preventDefault();
    form.requestSubmit(form.querySelector(".kill"));
  } else if (event.key === "Escape") {
    disarm(form);
    form.closest(".incident").focus();
  }
}

export function startAnswers() {
  document.addEventListener("submit", onSubmit);
  document.addEventListener("keydown", onKey);
  document.addEventListener("focusout", (event) => {
    const form = event.target.closest?.("form.answer.armed");
    if (form && !form.contains(event.relatedTarget)) disarm(form);
  });
}
