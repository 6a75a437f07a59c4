// Parts of a page that change with an incident: fetched again from the server when it does. `data-part` names them,
// `data-of` names the incidents whose change renews them; "pending": any change of the pending incidents. `data-approvals`
// is the number of pending approvals that a part was rendered with.

import { isInUse } from "./activity.js";
import { fetchPage } from "./fragments.js";
import { patchElement } from "./patch.js";
import { isHeld as isDecisionHeld } from "./undo.js";

const QUIET_MS = 300; // a decision changes its incident several times within a moment
const STORM_MS = 5_000; // in an incident storm the pending ones change all the time, and each refresh costs a page

export class LiveParts {
  // pending: how many incidents were pending when the page was rendered.
  constructor(pending) {
    this.pending = pending;
    this.fresh = new Map(); // name → part as the server has it, until it is shown
    this.timer = null;
    this.refreshAt = this.refreshedAt = 0;
    setInterval(() => this.settle(), 1000);
    document.addEventListener("parts", () => this.refresh()); // a form of this page has changed something
  }

  take(frame) {
    const shown = new Set([...document.querySelectorAll("[data-part]")].flatMap((part) => part.dataset.of.split(" ")));
    const isChanged = shown.delete("pending") && this.hasOtherCount(frame);
    // After a connection was lost, anything may have changed.
    if (frame.incidents.some((incident) => shown.has(incident.id)) || (frame.snapshot && shown.size)) this.schedule(QUIET_MS);
    else if (hasOtherApprovals(frame)) this.schedule(QUIET_MS);
    else if (isChanged) this.schedule(Math.max(QUIET_MS, this.refreshedAt + STORM_MS - Date.now()));
  }

  // The first frame of a page repeats the count of the page itself, unless it changed in between.
  hasOtherCount(frame) {
    const waiting = frame.counts?.waiting;
    if (waiting === undefined) return false;
    const isFirst = frame.snapshot && !this.hadFrame;
    this.hadFrame = true;
    const isSame = waiting === this.pending;
    this.pending = waiting;
    return !(isFirst && isSame);
  }

  schedule(delay) {
    const at = Date.now() + delay;
    if (this.timer !== null && this.refreshAt <= at) return;
    clearTimeout(this.timer);
    this.refreshAt = at;
    this.timer = setTimeout(() => this.refresh(), delay);
  }

  async refresh() {
    this.timer = null;
    this.refreshedAt = Date.now();
    try {
      const page = await fetchPage();
      for (const part of page?.querySelectorAll("[data-part]") ?? []) this.fresh.set(part.dataset.part, part);
      this.settle();
    } catch {
      // no connection: the snapshot of the next one renews them
    }
  }

  settle() {
    for (const [name, part] of this.fresh) {
      const old = document.querySelector(`[data-part="${name}"]`);
      if (old && isHeld(old)) continue;
      if (old) patchElement(old, part);
      this.fresh.delete(name);
    }
  }
}

function hasOtherApprovals(frame) {
  const approvals = frame.status?.approvals;
  const shown = document.querySelector("[data-approvals]")?.dataset.approvals;
  return approvals !== undefined && shown !== undefined && Number(shown) !== approvals;
}

// What stands above cards and rows must not push them down while somebody is on them.
function isHeld(part) {
  if ([...part.querySelectorAll("form")].some(isDecisionHeld)) return true; // its button is Undo
  return part.dataset.of === "pending" && [...document.querySelectorAll("[data-cards], [data-stream]")].some(isInUse);
}
