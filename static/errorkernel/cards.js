// Cards of pending and decided incidents: added, replaced and removed as they change, while nobody is on them.

import { isInUse } from "./activity.js";
import { ROOT } from "./addresses.js";
import { now, showInZone } from "./clock.js";
import { isUnsent, prepareForm } from "./decision_form.js";
import { fetchPage, parseFragment } from "./fragments.js";
import { changeOf, findCard, patchCard } from "./incident_card.js";
import { number } from "./texts.js";

const ENDED_SHOWN_MS = 60_000;
const LISTED = 100; // so many of each the list of all pending ones holds
const FEW_LISTED = 20;
const REFILL_AFTER_MS = 2_000;
const IS_ACTIVE = new Set(["open", "decided", "delivered"]);

// The card from the incident's own page, which has it however long ago it ended.
async function fetchCard(id) {
  try {
    const page = await fetchPage(`${ROOT}/incidents/${id}/`);
    const card = page?.getElementById(`incident-${id}`);
    if (card) patchCard(card.outerHTML);
  } catch {
    // no connection: the next snapshot comes with the next one
  }
}

export class Cards {
  constructor() {
    this.list = document.querySelector("[data-cards=open], [data-cards=found]");
    this.isFiltered = this.list?.dataset.cards === "found"; // which ones fit, the server alone can say
    this.mayFit = false;
    this.arriving = new Map(); // id → incident whose card waits for its place
    this.fetchedAt = 0;
    this.pending = Number(document.querySelector("[data-count=pending]").textContent) || 0;
    this.title = document.title.replace(/^\(\d+\) /, "");
    for (const card of document.querySelectorAll(".incident")) prepareForm(card);
    setInterval(() => this.settle(), 500);
  }

  take(frame) {
    for (const incident of frame.incidents) {
      if (!incident.html) continue; // of a large snapshot: it came before
      if (findCard(incident.id)) patchCard(incident.html);
      else if (!this.isListed(incident)) continue;
      else if (this.isFiltered) this.mayFit = true;
      else this.enqueue(incident);
    }
    if (frame.snapshot) this.compareWithSnapshot(new Set(frame.incidents.map((incident) => incident.id)));
    if (frame.counts?.waiting !== undefined) this.showCount(frame.counts.waiting);
    this.settle();
  }

  enqueue(incident) {
    const known = this.arriving.get(incident.id);
    if (known ? known.change <= incident.change : this.hasRoom()) this.arriving.set(incident.id, incident);
  }

  // The page does not grow, however many incidents are opened at once.
  hasRoom() {
    return this.arriving.size + this.list.querySelectorAll(".is-open").length < LISTED;
  }

  // Of the decided and ended ones, the page keeps the newest.
  trim() {
    const inProgress = [...this.list.querySelectorAll(".in-progress")];
    const ended = [...this.list.querySelectorAll("[data-ended]:not(:has(.notice))")];
    ended.sort((a, b) => Date.parse(b.dataset.ended) - Date.parse(a.dataset.ended));
    for (const card of [...inProgress.slice(LISTED), ...ended.slice(LISTED)]) card.remove();
  }

  // Ones that are decided already are not added.
  isListed(incident) {
    return this.list !== null && incident.state === "open";
  }

  // A card that is shown as pending or decided and is not in the snapshot ended while we were not connected, or there
  // are more than a snapshot holds.
  compareWithSnapshot(present) {
    const gone = [...document.querySelectorAll(".incident")].filter(
      (card) => IS_ACTIVE.has(card.dataset.state) && !present.has(card.dataset.id),
    );
    if (gone.length) this.refresh();
    for (const card of gone) if (isUnsent(card.dataset.id)) fetchCard(card.dataset.id);
  }

  // This page as the server would render it now: its cards take the places of ours, new ones are admitted.
  async refresh() {
    this.fetchedAt = Date.now();
    try {
      const page = await fetchPage();
      for (const card of page?.querySelectorAll(".incident") ?? []) {
        const incident = { id: card.dataset.id, state: card.dataset.state, change: changeOf(card), html: card.outerHTML };
        if (findCard(incident.id)) patchCard(incident.html);
        else if (this.isListed(incident)) this.enqueue(incident);
      }
    } catch {
      // no connection: the next snapshot comes with the next one
    }
  }

  showCount(pending) {
    this.pending = pending;
    for (const element of document.querySelectorAll("[data-count=pending]")) element.textContent = pending || "";
    const title = pending ? `(${pending}) ${this.title}` : this.title;
    if (document.title !== title) document.title = title;
  }

  settle() {
    const present = now();
    for (const card of document.querySelectorAll(".incident[data-ended]")) {
      // A minute after its end a card is history: grey.
      if (present - Date.parse(card.dataset.ended) > ENDED_SHOWN_MS) card.classList.add("is-old");
    }
    if (this.list && !isInUse(this.list)) {
      for (const card of this.list.children) card.style.minHeight = "";
      this.admit();
      this.trim();
    }
    this.refill();
    this.showMore();
  }

  // The page holds some of the pending cards; when they are decided, others take their places.
  refill() {
    if (Date.now() - this.fetchedAt < REFILL_AFTER_MS) return;
    if (this.mayFit) {
      this.mayFit = false;
      this.refresh();
    }
    if (!document.querySelector("[data-more]")) return;
    const open = this.list.querySelectorAll(".is-open").length;
    if (open < FEW_LISTED && this.pending > open + this.arriving.size) this.refresh();
  }

  admit() {
    for (const { html } of this.arriving.values()) {
      const cards = parseFragment(html);
      showInZone(cards);
      const card = cards.querySelector(".incident");
      if (!card || findCard(card.dataset.id)) continue;
      // Pending ones first, in the order of their arrival.
      const after = [...this.list.querySelectorAll(".is-open")].pop();
      if (after) after.after(card);
      else this.list.prepend(card);
      prepareForm(card);
    }
    this.arriving.clear();
    const none = document.querySelector("[data-none]");
    if (none) none.hidden = this.list.childElementCount > 0;
  }

  showMore() {
    const more = document.querySelector("[data-more]");
    if (!more) return;
    const shown = Math.min(LISTED, this.list.querySelectorAll(".is-open").length);
    const hidden = Math.max(0, this.pending - shown);
    more.hidden = hidden === 0;
    more.querySelector("[data-more-count]").textContent = number(hidden);
  }
}
