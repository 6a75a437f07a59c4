// The rows of the live page: newest on top, bounded, still while somebody points at them.

import { newInZone } from "./clock.js";
import { haveRows } from "./first.js";
import { isInUse } from "./hold.js";
import { fragment } from "./rows.js";
import { text } from "./texts.js";

const ROWS_MAX = 500;
const FADING_MAX = 5; // a single row may fade in; a flood has no time for it
const SCROLLED_PX = 4;

export class Stream {
  constructor(list) {
    this.list = list;
    list.replaceChildren(...list.children);
    this.head = document.querySelector(".stream-head");
    this.paused = false;
    this.waiting = []; // frames that came in while the rows stood still
    this.waitingRows = 0;
    this.waitingSince = 0; // how many events that is, with those that were skipped
    this.skipLine = null;
    this.asked = list.dataset.query ? { q: list.dataset.query } : {}; // what the list is narrowed to
    this.fresh = document.querySelector("[data-fresh]");
    this.held = document.querySelector("[data-held]");
    this.pauseButton = document.querySelector("[data-pause]");
    this.older = document.querySelector("[data-older]");
    this.pauseButton.hidden = false;
    this.pauseButton.addEventListener("click", () => this.pause(!this.paused));
    this.fresh.addEventListener("click", () => this.toTop());
    addEventListener("scroll", () => this.settle(), { passive: true });
    setInterval(() => this.settle(), 500);
  }

  get isStill() {
    return this.paused || this.isScrolled || isInUse(this.list);
  }

  // Rows have gone under the head of the list, which sticks to the top.
  // An empty list has no place on the page, and nothing that could have gone under.
  get isScrolled() {
    if (!this.list.childElementCount) return false;
    return this.list.getBoundingClientRect().top < this.head.getBoundingClientRect().bottom - SCROLLED_PX;
  }

  take(frame) {
    if (!frame.events.length && !frame.skipped) return;
    this.waiting.push(frame);
    this.waitingRows += frame.events.length;
    this.waitingSince += frame.events.length + frame.skipped;
    this.bound();
    this.settle();
  }

  // However long the pause, no more rows are kept than could be shown; the others are counted as skipped.
  bound() {
    while (this.waiting.length > 1 && this.waitingRows - this.waiting[0].events.length >= ROWS_MAX) {
      const oldest = this.waiting.shift();
      this.waitingRows -= oldest.events.length;
      this.waiting[0].skipped += oldest.events.length + oldest.skipped;
      this.waiting[0].from = oldest.from;
    }
  }

  settle() {
    // While rows flow, the browser must not scroll to keep the old ones in place; while they stand still, it should.
    this.list.classList.toggle("is-flowing", !this.isScrolled);
    if (this.waiting.length && !this.isStill) this.show();
    this.fresh.hidden = this.waitingSince === 0;
    this.fresh.textContent = text("new", { count: this.waitingSince });
    this.held.hidden = this.waitingSince === 0 || this.paused || this.isScrolled;
  }

  show() {
    for (const frame of this.waiting) this.add(frame);
    this.waiting = [];
    this.waitingRows = this.waitingSince = 0;
    for (let over = this.list.childNodes.length - ROWS_MAX; over > 0; over--) this.list.lastChild.remove();
    const last = [...this.list.querySelectorAll(".event")].pop();
    if (last) {
      this.older.hidden = false;
      this.older.querySelector("a").search = `?${new URLSearchParams({ ...this.asked, before: last.dataset.seq })}`;
    }
    haveRows();
  }

  add(frame) {
    const rows = fragment(frame.events.map((row) => row.html).reverse().join(""));
    if (frame.events.length <= FADING_MAX) for (const row of rows.children) row.classList.add("is-new");
    newInZone(rows);
    // The rows alone: what stands between them would never be counted, and never go.
    this.list.prepend(...rows.children);
    if (frame.skipped) this.saySkipped(frame);
  }

  // One line a second, under the first rows of that second: rows of ten frames a second would drown in such lines.
  saySkipped(frame) {
    const second = Math.floor(Date.now() / 1000);
    let line = this.skipLine;
    if (line?.isConnected && line.second === second) {
      line.skipped += frame.skipped;
    } else {
      line = document.createElement("li");
      line.className = "skipped";
      line.second = second;
      line.skipped = frame.skipped;
      line.from = frame.from;
      line.append(document.createElement("span"), " · ", document.createElement("a"));
      line.lastChild.textContent = text("show");
      const below = this.list.children[frame.events.length] ?? null;
      this.list.insertBefore(line, below);
      this.skipLine = line;
    }
    line.firstChild.textContent = text("skipped", { count: line.skipped });
    line.lastChild.href = `/events/?${new URLSearchParams({ ...this.asked, from: line.from, to: frame.to })}`;
  }

  pause(paused) {
    this.paused = paused;
    this.pauseButton.setAttribute("aria-pressed", String(paused));
    this.pauseButton.textContent = text(paused ? "go-on" : "pause");
    this.settle();
  }

  toTop() {
    this.pause(false);
    if (this.isScrolled) this.list.closest("section").scrollIntoView();
    this.show();
    this.settle();
  }
}
