// Cards of waiting processes: replaced in place as they change, added and taken away when nobody is on them.

import { arm, isUnsent, makeReady, settle } from "./answer.js";
import { newInZone, now } from "./clock.js";
import { isInUse } from "./hold.js";
import { fragment } from "./rows.js";
import { number } from "./texts.js";

const SHOWN = 5; // the stylesheet hides the others, see `.cards.few`
const ENDED_SHOWN_MS = 60_000;
const HELD = 20; // the live page has so many that wait, to move up, that are on their way, and that ended; others are counted
const LISTED = 100; // so many of each the list of all waiting has
const FEW_LISTED = 20;
const REFILL_AFTER_MS = 2_000;
const IS_LIVE = new Set(["open", "decided", "delivered"]);

const cardOf = (id) => document.getElementById(`incident-${id}`);
const isOpen = (card) => card.dataset.state === "open";
const changeOf = (card) => Number(card.dataset.change);

// Put the card that `html` is in the place of the one that is shown; an older one is not put there.
// `isAnswer`: it answers a form of ours, so it may repeat the state that is shown already.
export function replace(html, { isAnswer = false } = {}) {
  const card = fragment(html).querySelector(".incident");
  const old = card && cardOf(card.dataset.id);
  if (!old || changeOf(card) < changeOf(old) || (!isAnswer && changeOf(card) === changeOf(old))) return false;
  keepWhatPeopleDid(old, card);
  const hadFocus = old.contains(document.activeElement);
  const focused = hadFocus ? document.activeElement.getAttribute("name") : null;
  const selection = focused === "reason" ? [document.activeElement.selectionStart, document.activeElement.selectionEnd] : null;
  // The card keeps its height while somebody is on it: a button of the next one must not slide under the pointer.
  const height = old.getBoundingClientRect().height;
  newInZone(card);
  old.replaceWith(card);
  makeReady(card);
  if (card.getBoundingClientRect().height < height) card.style.minHeight = `${height}px`;
  if (hadFocus) {
    const field = focused && card.querySelector(`[name="${focused}"]`);
    (field ?? card).focus({ preventScroll: true });
    if (field && selection) field.setSelectionRange(...selection);
  }
  if (!isOpen(card) && isUnsent(card.dataset.id)) settle(card.dataset.id);
  return true;
}

function keepWhatPeopleDid(old, card) {
  const typed = old.querySelector("[name=reason]");
  const field = card.querySelector("[name=reason]");
  if (typed && field && !field.value) {
    field.value = typed.value;
    card.querySelector("[name=request_id]").value = old.querySelector("[name=request_id]").value;
    if (old.querySelector(".armed")) arm(card);
  }
  const notice = old.querySelector(".notice");
  if (!notice || card.querySelector(".notice")) return;
  // "Answer again" stands for as long as that can be done; anything else that was said, when it no longer can.
  if (isUnsent(card.dataset.id) === isOpen(card)) card.querySelector("form.answer, .truth").before(notice);
}

// The card from the question's own page, which has it however long ago it ended.
async function lookUp(id) {
  try {
    const response = await fetch(`/incidents/${id}/`);
    if (!response.ok || response.redirected) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const card = page.getElementById(`incident-${id}`);
    if (card) replace(card.outerHTML);
  } catch {
    // no connection: the next snapshot comes with the next one
  }
}

export class Cards {
  constructor() {
    this.list = document.querySelector("[data-cards=live], [data-cards=open], [data-cards=found]");
    this.isLivePage = this.list?.dataset.cards === "live";
    this.isFiltered = this.list?.dataset.cards === "found"; // which ones fit, the server alone can say
    this.room = this.isLivePage ? HELD : LISTED;
    this.mayFit = false;
    this.arriving = new Map(); // id → incident whose card waits for its place
    this.fetchedAt = 0;
    this.waiting = Number(document.querySelector("[data-count=waiting]").textContent) || 0;
    this.title = document.title.replace(/^\(\d+\) /, "");
    for (const card of document.querySelectorAll(".incident")) makeReady(card);
    setInterval(() => this.settle(), 500);
  }

  take(frame) {
    for (const incident of frame.incidents) {
      if (!incident.html) continue; // of a large snapshot: it came before
      if (cardOf(incident.id)) replace(incident.html);
      else if (!this.belongs(incident)) continue;
      else if (this.isFiltered) this.mayFit = true;
      else this.expect(incident);
    }
    if (frame.snapshot) this.compare(new Set(frame.incidents.map((incident) => incident.id)));
    if (frame.counts?.waiting !== undefined) this.count(frame.counts.waiting);
    this.settle();
  }

  expect(incident) {
    const known = this.arriving.get(incident.id);
    if (known ? known.change <= incident.change : this.hasRoom(incident.state)) this.arriving.set(incident.id, incident);
  }

  // However many begin to wait, or are answered at once: the page does not grow with them.
  hasRoom(state) {
    const isOpen = state === "open";
    const arriving = [...this.arriving.values()].filter((one) => (one.state === "open") === isOpen).length;
    return arriving + (isOpen ? this.list.querySelectorAll(".is-open").length : 0) < this.room;
  }

  // Of those that were answered since, the page keeps the newest.
  thin() {
    const onWay = [...this.list.querySelectorAll(".on-way")];
    const ended = [...this.list.querySelectorAll("[data-ended]:not(:has(.notice))")];
    ended.sort((one, other) => Date.parse(other.dataset.ended) - Date.parse(one.dataset.ended));
    for (const card of [...onWay.slice(this.room), ...ended.slice(this.room)]) card.remove();
  }

  // The list of all waiting takes open ones only; the live page follows them to their end.
  belongs(incident) {
    return this.list !== null && (this.isLivePage || incident.state === "open");
  }

  // A card that is shown as waiting or on its way and is not in the snapshot ended while we were not connected, or
  // there are more than a snapshot holds.
  compare(present) {
    const gone = [...document.querySelectorAll(".incident")].filter(
      (card) => IS_LIVE.has(card.dataset.state) && !present.has(card.dataset.id),
    );
    if (!this.isLivePage && gone.length) this.reread();
    for (const card of gone) {
      if (isUnsent(card.dataset.id)) lookUp(card.dataset.id);
      else if (this.isLivePage) card.dataset.ended = new Date(0).toISOString();
    }
  }

  // This page as the server would render it now: its cards take the places of ours, new ones are admitted.
  async reread() {
    this.fetchedAt = Date.now();
    try {
      const response = await fetch(location.href);
      if (!response.ok || response.redirected) return;
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const card of page.querySelectorAll(".incident")) {
        const incident = { id: card.dataset.id, state: card.dataset.state, change: changeOf(card), html: card.outerHTML };
        if (cardOf(incident.id)) replace(incident.html);
        else if (this.belongs(incident)) this.expect(incident);
      }
    } catch {
      // no connection: the next snapshot comes with the next one
    }
  }

  count(waiting) {
    this.waiting = waiting;
    for (const element of document.querySelectorAll("[data-count=waiting]")) element.textContent = waiting || "";
    const title = waiting ? `(${waiting}) ${this.title}` : this.title;
    if (document.title !== title) document.title = title;
  }

  settle() {
    const present = now();
    for (const card of document.querySelectorAll(".incident[data-ended]")) {
      if (present - Date.parse(card.dataset.ended) > ENDED_SHOWN_MS) this.grow(card);
    }
    const stream = document.querySelector("[data-stream]");
    if (this.list && !isInUse(this.list)) {
      for (const card of this.list.children) card.style.minHeight = "";
      if (!stream || !isInUse(stream)) this.admit();
      this.thin();
    }
    this.refill();
    this.sayMore();
  }

  // The page holds some of the cards that wait; when they are answered, others take their places.
  refill() {
    if (Date.now() - this.fetchedAt < REFILL_AFTER_MS) return;
    if (this.mayFit) {
      this.mayFit = false;
      this.reread();
    }
    if (!this.isLivePage && !document.querySelector("[data-more]")) return;
    const open = this.list.querySelectorAll(".is-open").length;
    if (open < (this.isLivePage ? SHOWN : FEW_LISTED) && this.waiting > open + this.arriving.size) this.reread();
  }

  // A minute after its end a card is history: grey in a list, gone from the live page.
  grow(card) {
    card.classList.add("is-old");
    if (card.querySelector(".notice")) return; // somebody has to read it
    if (this.isLivePage && this.list.contains(card) && !isInUse(this.list)) card.remove();
  }

  admit() {
    for (const { html } of this.arriving.values()) {
      const cards = fragment(html);
      newInZone(cards);
      const card = cards.querySelector(".incident");
      if (!card || cardOf(card.dataset.id)) continue;
      // Waiting ones first, in the order of their coming; the others after them.
      const after = card.dataset.state === "open" ? [...this.list.querySelectorAll(".is-open")].pop() : this.list.lastElementChild;
      if (after) after.after(card);
      else this.list.prepend(card);
      makeReady(card);
    }
    this.arriving.clear();
    const none = document.querySelector("[data-none]");
    if (none) none.hidden = this.list.childElementCount > 0;
  }

  sayMore() {
    const more = document.querySelector("[data-more]");
    if (!more) return;
    const shown = Math.min(this.isLivePage ? SHOWN : LISTED, this.list.querySelectorAll(".is-open").length);
    const hidden = Math.max(0, this.waiting - shown);
    more.hidden = hidden === 0;
    more.querySelector("[data-more-count]").textContent = number(hidden);
  }
}
