// Parts of a page that change with a question: read anew from the server when it does. `data-part` names them,
// `data-of` says which question's change renews them.

import { newInZone } from "./clock.js";
import { isInUse } from "./hold.js";

const QUIET_MS = 300; // an answer changes its question several times within a moment

export class Parts {
  constructor() {
    this.due = false;
    this.timer = null;
    if (document.querySelector("[data-part]")) setInterval(() => this.due && this.soon(), 1000);
  }

  take(frame) {
    const shown = new Set([...document.querySelectorAll("[data-part]")].map((part) => part.dataset.of));
    // After a connection was lost, anything may have changed.
    if (frame.incidents.some((incident) => shown.has(incident.id)) || (frame.snapshot && shown.size)) this.soon();
  }

  soon() {
    this.due = true;
    this.timer ??= setTimeout(() => this.renew(), QUIET_MS);
  }

  async renew() {
    this.timer = null;
    try {
      const response = await fetch(location.href);
      if (!response.ok || response.redirected) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      this.due = false;
      for (const fresh of page.querySelectorAll("[data-part]")) this.place(fresh);
    } catch {
      // no connection: the snapshot of the next one renews them
      this.due = false;
    }
  }

  place(fresh) {
    const old = document.querySelector(`[data-part="${fresh.dataset.part}"]`);
    if (!old || old.innerHTML === fresh.innerHTML) return;
    const typed = [...old.querySelectorAll("input[type=text]")].some((field) => field.value !== field.defaultValue);
    if (typed || isInUse(old) || old.querySelector("details[open]")) {
      this.due = true; // nobody's text goes, nothing moves under a pointer
      return;
    }
    newInZone(fresh);
    old.replaceWith(fresh);
  }
}
