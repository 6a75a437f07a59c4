// The rows of the live page: newest on top, bounded, and held while the pointer or the focus is on them.

import { isInUse } from "./activity.js";
import { ROOT } from "./addresses.js";
import { showInZone } from "./clock.js";
import { parseFragment } from "./fragments.js";
import { hideOnboarding } from "./onboarding.js";
import { text } from "./texts.js";

const ROWS_MAX = 500;
const FADING_MAX = 5; // a single row may fade in; a flood has no time for it
const SCROLLED_PX = 4;

export class EventStream {
  constructor(list) {
    this.list = list;
    list.replaceChildren(...list.children);
    this.head = document.querySelector(".stream-head");
    this.paused = false;
    this.held = []; // frames that arrived while the rows were held
    this.heldRows = 0;
    this.heldEvents = 0; // how many events that is, with those that were skipped
    this.skipLine = null;
    this.search = list.dataset.query ? { q: list.dataset.query } : {};
    this.fresh = document.querySelector("[data-fresh]");
    this.heldNote = document.querySelector("[data-held]");
    this.pauseButton = document.querySelector("[data-pause]");
    this.older = document.querySelector("[data-older]");
    this.pauseButton.hidden = false;
    this.pauseButton.addEventListener("click", () => this.pause(!this.paused));
    this.fresh.addEventListener("click", () => this.toTop());
    addEventListener("scroll", () => this.settle(), { passive: true });
    setInterval(() => this.settle(), 500);
  }

  get isHeld() {
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
    this.held.push(frame);
    this.heldRows += frame.events.length;
    this.heldEvents += frame.events.length + frame.skipped;
    this.bound();
    // Frames come faster than a screen shows them; a hidden page is settled by the timer alone.
    this.painting ||= requestAnimationFrame(() => {
      this.painting = 0;
      this.settle();
    });
  }

  // However long the pause, no more rows are kept than could be shown; the others are counted as skipped.
  bound() {
    while (this.held.length > 1 && this.heldRows - this.held[0].events.length >= ROWS_MAX) {
      const oldest = this.held.shift();
      this.heldRows -= oldest.events.length;
      this.held[0].skipped += oldest.events.length + oldest.skipped;
      this.held[0].from = oldest.from;
    }
  }

  settle() {
    // While rows flow, the browser must not scroll to keep the old ones in place; while they stand still, it should.
    this.list.classList.toggle("is-flowing", !this.isScrolled);
    if (this.held.length && !this.isHeld) this.show();
    this.fresh.hidden = this.heldEvents === 0;
    this.fresh.textContent = text("new", { count: this.heldEvents });
    this.heldNote.hidden = this.heldEvents === 0 || this.paused || this.isScrolled;
  }

  show() {
    for (const frame of this.held) this.add(frame);
    this.held = [];
    this.heldRows = this.heldEvents = 0;
    for (let over = this.list.childNodes.length - ROWS_MAX; over > 0; over--) this.list.lastChild.remove();
    const last = [...this.list.querySelectorAll(".event")].pop();
    if (last) {
      this.older.hidden = false;
      this.older.querySelector("a").search = `?${new URLSearchParams({ ...this.search, before: last.dataset.seq })}`;
    }
    hideOnboarding();
  }

  add(frame) {
    const rows = parseFragment(
      frame.events
        .map((row) => row.html)
        .reverse()
        .join(""),
    );
    if (frame.events.length <= FADING_MAX) for (const row of rows.children) row.classList.add("is-new");
    showInZone(rows);
    // The rows alone: text between them would never be counted, and never be removed.
    this.list.prepend(...rows.children);
    if (frame.skipped) this.showSkipped(frame);
  }

  // One line a second, under the first rows of that second: rows of many frames a second would drown in such lines.
  showSkipped(frame) {
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
    line.lastChild.href = `${ROOT}/events/?${new URLSearchParams({ ...this.search, from: line.from, to: frame.to })}`;
  }

  pause(paused) {
    this.paused = paused;
    this.pauseButton.setAttribute("aria-pressed", String(paused));
    this.pauseButton.firstElementChild.textContent = text(paused ? "resume" : "pause");
    this.settle();
  }

  toTop() {
    this.pause(false);
    if (this.isScrolled) this.list.closest("section").scrollIntoView();
    this.show();
    this.settle();
  }
}
