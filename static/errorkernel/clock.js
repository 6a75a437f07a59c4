// Times on the page: ages that go on counting, clock times in UTC or in the reader's own zone.
//
// Ages are counted by the server's clock: a browser whose clock is wrong must not show a longer pending time. The page
// contains the server's time when it is rendered; the difference is kept.

import { choose, chosen, onChoice } from "./choices.js";
import { text } from "./texts.js";

const offset = Date.parse(document.body.dataset.now) - Date.now();
let local = chosen("zone") === "local";

export const now = () => Date.now() + offset;

// The same words as the filters `duration` and `roughly`.
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} m`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

const roughly = (seconds) => duration(seconds).split(" ").slice(0, 2).join(" ");
const two = (number) => String(number).padStart(2, "0");

function setText(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

// What follows a date and time: UTC, or how far the reader's zone is from it at that time.
function zoneOf(iso) {
  if (!local) return "UTC";
  const east = -new Date(iso).getTimezoneOffset();
  return `${east < 0 ? "-" : "+"}${two(Math.floor(Math.abs(east) / 60))}:${two(Math.abs(east) % 60)}`;
}

function parts(iso) {
  if (!local) return [iso.slice(0, 10), iso.slice(11, 23)];
  const at = new Date(iso);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  const milliseconds = String(at.getMilliseconds()).padStart(3, "0");
  return [day, `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${milliseconds}`];
}

// The server renders UTC, which most readers want: then there is nothing to do.
export function showInZone(root) {
  if (local) rewriteTimes(root);
}

// Rewrite the clock times under `root`.
function rewriteTimes(root) {
  for (const element of root.querySelectorAll("time.clock, time.stamp")) {
    const [day, clock] = parts(element.dateTime);
    if (element.classList.contains("stamp")) setText(element, `${day} ${clock} ${zoneOf(element.dateTime)}`);
    else setText(element, clock);
    if (element.dataset.day) element.dataset.day = day;
  }
}

const age = (element, present) => roughly((present - Date.parse(element.dateTime)) / 1000);

// An exact time shows its age on hover; computed then, since thousands of rows come and go.
function onPoint(event) {
  const element = event.target.closest?.("time.clock, time.stamp");
  if (element)
    element.title = `${text("ago", { age: age(element, now()) })} · ${element.dateTime.replace("T", " ").replace("Z", " UTC")}`;
}

function tick() {
  const present = now();
  for (const element of document.querySelectorAll("time.ago")) {
    setText(element, text("ago", { age: age(element, present) }));
  }
  for (const element of document.querySelectorAll("time.since")) {
    setText(element, duration((present - Date.parse(element.dateTime)) / 1000));
  }
  for (const element of document.querySelectorAll("time.until")) {
    const left = (Date.parse(element.dateTime) - present) / 1000;
    setText(element, text(left > 0 ? "in" : "passed", { age: duration(Math.abs(left)) }));
    element.classList.toggle("is-soon", left < 60);
  }
  for (const element of document.querySelectorAll("progress[data-until]")) {
    element.value = Math.max(0, (Date.parse(element.dataset.until) - present) / 1000);
  }
}

export function startClock() {
  const button = document.querySelector("[data-zone]");
  const zone = (Intl.DateTimeFormat().resolvedOptions().timeZone || "local").split("/").pop().replaceAll("_", " ");
  const show = () => {
    setText(button, local ? zone : "UTC");
    rewriteTimes(document);
  };
  if (zone !== "UTC" && zone !== "local") setText(document.querySelector("[data-zone-name]"), zone);
  button.addEventListener("click", () => choose("zone", local ? "utc" : "local"));
  onChoice("zone", (chosenZone) => {
    local = chosenZone === "local";
    show();
  });
  if (local) show();
  document.addEventListener("pointerover", onPoint, { passive: true });
  tick();
  setInterval(tick, 1000);
}
