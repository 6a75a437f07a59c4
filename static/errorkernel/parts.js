// Parts of a page that change with a question: read anew from the server when it does. `data-part` names them,
// `data-of` says which question's change renews them; "waiting": any change of who waits.

import { newInZone } from "./clock.js";
import { isInUse } from "./hold.js";

const QUIET_MS = 300; // an answer changes its question several times within a moment
const CROWD_MS = 5_000; // in a storm of questions who waits changes all the time, and each look costs a page

export class Parts {
  // waiting: how many waited when the page was made.
  constructor(waiting) {
    this.waiting = waiting;
    this.fresh = new Map(); // name → part as the server has it, until it gets its place
    this.timer = null;
    this.lookAt = this.lookedAt = 0;
    setInterval(() => this.settle(), 1000);
  }

  take(frame) {
    const shown = new Set([...document.querySelectorAll("[data-part]")].flatMap((part) => part.dataset.of.split(" ")));
    const isCrowd = shown.delete("waiting") && this.isOtherCrowd(frame);
    // After a connection was lost, anything may have changed.
    if (frame.incidents.some((incident) => shown.has(incident.id)) || (frame.snapshot && shown.size)) this.look(QUIET_MS);
    else if (isCrowd) this.look(Math.max(QUIET_MS, this.lookedAt + CROWD_MS - Date.now()));
  }

  // The first frame of a page tells what the page itself says, unless somebody came in between.
  isOtherCrowd(frame) {
    const waiting = frame.counts?.waiting;
    if (waiting === undefined) return false;
    const isFirst = frame.snapshot && !this.hadFrame;
    this.hadFrame = true;
    const isSame = waiting === this.waiting;
    this.waiting = waiting;
    return !(isFirst && isSame);
  }

  look(delay) {
    const at = Date.now() + delay;
    if (this.timer !== null && this.lookAt <= at) return;
    clearTimeout(this.timer);
    this.lookAt = at;
    this.timer = setTimeout(() => this.renew(), delay);
  }

  async renew() {
    this.timer = null;
    this.lookedAt = Date.now();
    try {
      const response = await fetch(location.href);
      if (!response.ok || response.redirected) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const part of page.querySelectorAll("[data-part]")) this.fresh.set(part.dataset.part, part);
      this.settle();
    } catch {
      // no connection: the snapshot of the next one renews them
    }
  }

  settle() {
    for (const [name, part] of this.fresh) {
      const old = document.querySelector(`[data-part="${name}"]`);
      newInZone(part);
      if (old && old.innerHTML !== part.innerHTML) {
        if (isHeld(old)) continue;
        old.replaceWith(part);
      }
      this.fresh.delete(name);
    }
  }
}

// Nobody's text goes, nothing moves under a pointer: neither in the part, nor the cards and rows below it.
function isHeld(part) {
  const typed = [...part.querySelectorAll("input[type=text]")].some((field) => field.value !== field.defaultValue);
  const below = part.dataset.of === "waiting" ? document.querySelectorAll("[data-cards], [data-stream]") : [];
  return typed || part.querySelector("details[open]") !== null || [part, ...below].some(isInUse);
}
