// Continues a long dry run, step by step, where the page stopped after its first second. Without this a button does so.
// Each step is a request of its own: leaving the page ends it.

import { ROOT } from "./addresses.js";
import { number, text } from "./texts.js";

const part = document.querySelector("[data-dry-run][data-next]");

const parseCount = (shown) => Number(shown.replace(/\D/g, ""));
const add = (element, more) => {
  element.textContent = number(parseCount(element.textContent) + more);
};

function endingText(how, count) {
  return text(how === "nobody" ? "dry-run-pending" : "dry-run-ending", { count, how });
}

async function step(start) {
  const { condition, days, rule } = part.dataset;
  const body = { condition, days: Number(days), start };
  if (rule) body.rule = Number(rule);
  const response = await fetch(`${ROOT}/api/v1/rules/dry-run`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": document.querySelector("[name=csrfmiddlewaretoken]").value },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(text("dry-run-stopped", { status: response.status }));
  return response.json();
}

async function run() {
  const find = (name) => part.querySelector(`[data-${name}]`);
  const ended = JSON.parse(part.dataset.counts);
  const bar = part.querySelector("progress");
  let next = Number(part.dataset.next);
  find("all").hidden = true;
  while (next !== null) {
    const found = await step(next);
    for (const [how, count] of Object.entries(found.ended)) ended[how] = (ended[how] ?? 0) + count;
    add(find("matched"), found.matched);
    add(find("taken"), found.taken);
    find("taken-part").hidden = find("taken").textContent === "0";
    add(find("looked-at"), found.looked_at);
    const parts = Object.entries(ended).map(([how, count]) => endingText(how, count));
    find("ended").textContent = parts.join(", ");
    bar.value = 100 * found.done;
    find("back-to").textContent = found.back_to
      ? text("dry-run-back", { time: `${found.back_to.slice(0, 16).replace("T", " ")} UTC` })
      : "";
    next = found.next;
  }
  part.querySelector(".further").hidden = true;
}

if (part) {
  run().catch((error) => {
    part.querySelector("[data-all]").hidden = false;
    part.querySelector("[data-back-to]").textContent = error.message;
  });
}
