// A pressed button shows at once that it was pressed, and a second press does nothing until the answer is there. It keeps
// its place and the focus. The server recognizes a repeated form as well (web/operations/form_view.py).

const FORGOTTEN_MS = 10_000; // an answer that is a file leaves the page as it is

function release(form, button) {
  delete form.dataset.submitting;
  for (const one of [button, ...form.querySelectorAll("[aria-busy]")]) {
    one?.removeAttribute("aria-busy");
    one?.removeAttribute("aria-disabled");
  }
}

function onSubmit(event) {
  const form = event.target;
  if (form.method === "dialog" || event.defaultPrevented) return; // closed, or sent by a script that marks it itself
  if (form.dataset.submitting) return event.preventDefault();
  const button = event.submitter;
  form.dataset.submitting = "1";
  button?.setAttribute("aria-busy", "true");
  button?.setAttribute("aria-disabled", "true");
  setTimeout(() => release(form, button), FORGOTTEN_MS);
}

// On the window: after the scripts that send a form themselves.
addEventListener("submit", onSubmit);
// A page that comes back with the browser's "Back" is as it was left.
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("[data-submitting]")) release(form, form.querySelector("[aria-busy]"));
});
