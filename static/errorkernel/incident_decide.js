// Decides on the page of an incident. The form works without this; with it a decision can be undone for four seconds, and
// the page shows its progress in place.

import { announce } from "./announce.js";
import { FETCHED, postForm, postLeaving } from "./form_post.js";
import { parseFragment } from "./fragments.js";
import { text } from "./texts.js";
import { isHeld, press, say, sendHeld, undo } from "./undo.js";

const findForm = () => document.querySelector("[data-incident-decide]");

// The page shows what became of it, from the server.
const refresh = () => document.dispatchEvent(new Event("parts"));

// The response to a decision is a card: of a refusal with the sentence, such as who was faster.
async function findNotice(response) {
  if (!response.headers.has(FETCHED)) return text("decide-failed", { status: String(response.status) });
  return parseFragment(await response.text()).querySelector(".notice")?.textContent ?? "";
}

async function send(form, { button, body, isLeaving }) {
  const address = form.getAttribute("action");
  if (isLeaving) return postLeaving(address, body);
  button.setAttribute("aria-busy", "true");
  try {
    const response = await postForm(address, body);
    const notice = response.ok ? "" : await findNotice(response);
    if (notice) {
      say(form, notice, { isBad: true });
      announce(notice);
    }
  } catch {
    say(form, text("decide-unsent"), { isBad: true });
    announce(text("decide-unsent"));
  } finally {
    button.removeAttribute("aria-busy");
    refresh();
  }
  return undefined;
}

function onSubmit(event) {
  const { target: form, submitter: button } = event;
  if (!form.matches("[data-incident-decide]") || button?.name !== "action") return;
  event.preventDefault();
  if (!isHeld(form) && button.getAttribute("aria-disabled") === "true") return;
  press(form, button, send);
}

// The keys of this page, beside those of every page.
export function incidentKeys() {
  const form = findForm();
  if (!form) return {};
  document.addEventListener("submit", onSubmit);
  // The second click of a double click is no wish to undo.
  form.addEventListener("click", (event) => event.detail > 1 && isHeld(form) && event.preventDefault());
  return {
    t: () => document.querySelector("[data-take]")?.click() ?? false,
    u: () => Boolean(undo()),
    Enter: () => document.activeElement === document.getElementById("main") && sendHeld(form),
  };
}
