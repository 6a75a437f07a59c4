// The triage area: groups of pending incidents, brought up to date in place. Their order stays while the pointer or the
// focus is among them, and no control is replaced under it.

import { isInUse } from "./activity.js";
import { announce } from "./announce.js";
import { now, showInZone } from "./clock.js";
import { FETCHED } from "./form_post.js";
import { parseFragment } from "./fragments.js";
import { patchAttributes, patchChildren, patchElement } from "./patch.js";
import { text } from "./texts.js";
import { dropHeld, isHeld, say } from "./undo.js";

const QUIET_MS = 250; // a decision changes its incident several times within a moment
const PAUSE_MS = 1_000; // in a storm, from one refresh to the next, at least …
const LONGEST_MS = 30_000; // the trend and the rates are not older than this
const ENDED_SHOWN_MS = 60_000;
const PAUSE_TIMES = 5; // … and so many times as long as the last one took
const ROWS_AT_FIRST = 10;
const ROWS_MORE = 50;
const MODE_READY = "ready";

const isUnderHand = (element) => element.matches(":hover") || element.contains(document.activeElement);
const titleOf = (group) => group.querySelector("h2 bdi").textContent.trim();
const formOf = (group) => group.querySelector(".decide");

export class Triage {
  constructor(area) {
    this.area = area;
    this.list = area.querySelector("[data-groups]");
    this.resort = area.querySelector("[data-resort]");
    this.opened = new Map(); // problem → how many of its processes are shown
    this.order = this.groups().map((group) => group.id);
    this.arrived = new Map(); // id → group that waits for its place, while somebody uses the rows below
    this.tookMs = 0;
    this.refreshedAt = 0;
    this.timer = null;
    this.known = null; // the order that the last frame gave
    for (const group of area.querySelectorAll("[data-group]:has([data-members]:not([hidden]))")) {
      this.opened.set(group.dataset.group, group.querySelectorAll("[data-member]").length);
    }
    this.resort.addEventListener("click", () => this.sort());
    area.addEventListener("pointerleave", () => this.settle());
    setInterval(() => this.settle(), 1000);
    this.watch();
  }

  groups() {
    return [...this.list.querySelectorAll(":scope > [data-group]")];
  }

  take(frame) {
    const { triage } = frame;
    if (!triage) return;
    // Rates alone change all the time: they come with the next change, or after a while.
    const isChanged = triage.groups.length > 0 || triage.gone.length > 0 || triage.order.join() !== this.known;
    this.known = triage.order.join();
    if (isChanged || Date.now() - this.refreshedAt > LONGEST_MS) this.schedule();
  }

  schedule() {
    const pause = Math.max(PAUSE_MS, PAUSE_TIMES * this.tookMs);
    this.timer ??= setTimeout(() => this.refresh(), Math.max(QUIET_MS, this.refreshedAt + pause - Date.now()));
  }

  // Fetch the groups anew. `own`: the problem that the reader has just decided; its bar may change under the pointer.
  async refresh(own = null) {
    clearTimeout(this.timer);
    this.timer = null;
    const startedAt = Date.now();
    const open = [...this.opened].map(([problem, rows]) => `${problem}.${rows}`).join(",");
    try {
      const address = `${this.area.dataset.triage}?${new URLSearchParams({ ...this.search(), open })}`;
      const response = await fetch(address, { headers: { [FETCHED]: "1" } });
      if (!response.ok || response.redirected) return;
      this.show(parseFragment(await response.text()).querySelector("[data-triage]"), own);
    } catch {
      // no connection: the snapshot of the next one brings another refresh
    } finally {
      this.refreshedAt = Date.now();
      this.tookMs = this.refreshedAt - startedAt;
    }
  }

  search() {
    const q = new URLSearchParams(location.search).get("q");
    return q ? { q } : {};
  }

  show(fresh, own) {
    showInZone(fresh);
    const head = this.area.querySelector(".triage-head");
    patchElement(head.firstElementChild, fresh.querySelector("h1"));
    patchElement(head.querySelector(".facts"), fresh.querySelector(".facts"));
    patchElement(this.area.querySelector("[data-more-problems]"), fresh.querySelector("[data-more-problems]"));
    const shown = new Map(this.groups().map((group) => [group.id, group]));
    const wanted = [...fresh.querySelectorAll("[data-group]")];
    this.order = wanted.map((group) => group.id);
    this.arrived.clear();
    for (const group of wanted) {
      const old = shown.get(group.id);
      if (old) patchGroup(old, group, own === group.dataset.group);
      else this.arrived.set(group.id, group);
    }
    const hasMore = !fresh.querySelector("[data-more-problems]").hidden;
    for (const [id, old] of shown) if (!this.order.includes(id)) this.miss(old, hasMore);
    this.admit();
    this.settle();
    this.watch();
  }

  // New groups are appended, so that none moves; sorting puts them in their places.
  admit(isAsked = false) {
    const stream = document.querySelector("[data-stream]");
    if (!isAsked && stream && isInUse(stream)) return;
    for (const group of this.arrived.values()) {
      this.list.append(document.adoptNode(group));
      announce(text("group-new", { title: titleOf(group) }));
    }
    this.arrived.clear();
  }

  // A row that the server does not list. With more problems than it lists, this one may be pending with less impact: its
  // row goes without a word, as soon as nobody is on the list.
  miss(group, hasMore) {
    if (!hasMore) this.end(group);
    else if (!isUnderHand(this.list) && !isHeld(formOf(group))) group.remove();
  }

  // Nothing of the problem is pending, and nothing is on its way: the row says so for a minute.
  end(group) {
    if (group.dataset.ended) return;
    this.opened.delete(group.dataset.group);
    group.dataset.ended = String(Date.now());
    group.dataset.mode = "ended";
    group.className = "group in-hand is-ended";
    group.querySelector(".many").textContent = "✓ 0";
    group.querySelector("[data-members]")?.setAttribute("hidden", "");
    const form = formOf(group);
    if (isHeld(form)) lose(group, text("group-gone"));
    else if (isUnderHand(form)) freeze(group, text("group-gone"));
    else form.replaceChildren(text("group-gone"));
    announce(`${titleOf(group)}: ${text("group-gone")}`);
  }

  settle() {
    const isMoving = !isUnderHand(this.list);
    if (isMoving) {
      for (const group of this.list.querySelectorAll("[data-ended]")) {
        if (Date.now() - Number(group.dataset.ended) > ENDED_SHOWN_MS) group.remove();
      }
      if (this.arrived.size) this.admit();
      this.sort();
      if (this.list.querySelector(".is-frozen")) this.schedule();
    }
    const shown = this.groups().map((group) => group.id);
    const isSorted = this.order.filter((id) => shown.includes(id)).every((id, place) => id === shown[place]);
    this.resort.hidden = isSorted && this.arrived.size === 0;
  }

  sort() {
    this.admit(true);
    let place = this.list.firstElementChild;
    for (const id of this.order) {
      const group = document.getElementById(id);
      if (!group) continue;
      if (group === place) place = place.nextElementSibling;
      else this.list.insertBefore(group, place);
    }
    this.resort.hidden = true;
  }

  // An observation ends without an event: look again when it does.
  watch() {
    clearTimeout(this.watching);
    const ends = [...this.list.querySelectorAll("[data-bulk] time.until")].map((time) => Date.parse(time.dateTime) - now());
    const next = Math.min(...ends.filter((left) => left > 0));
    if (Number.isFinite(next)) this.watching = setTimeout(() => this.refresh(), next + QUIET_MS);
  }

  // Show or hide the processes of a group.
  async toggle(group, isShown = !this.opened.has(group.dataset.group)) {
    const members = group.querySelector("[data-members]");
    if (!members) return;
    if (isShown) {
      this.opened.set(group.dataset.group, this.opened.get(group.dataset.group) ?? ROWS_AT_FIRST);
      members.hidden = false;
      await this.refresh();
    } else {
      if (members.contains(document.activeElement)) group.focus();
      this.opened.delete(group.dataset.group);
      members.hidden = true;
      members.replaceChildren();
    }
    showExpanded(group, isShown);
  }

  more(group, count = ROWS_MORE) {
    const problem = group.dataset.group;
    this.opened.set(problem, (this.opened.get(problem) ?? 0) + count);
    return this.refresh();
  }
}

function showExpanded(group, isShown) {
  const link = group.querySelector("[data-expand]");
  link?.setAttribute("aria-expanded", String(isShown));
  const sign = link?.firstElementChild;
  if (sign) sign.textContent = isShown ? "▾" : "▸";
}

// `isOwn`: the reader has just decided it, so its bar changes also under the pointer.
function patchGroup(old, fresh, isOwn) {
  const outcome = fresh.dataset.change;
  if (outcome && outcome !== old.dataset.change) announce(`${titleOf(fresh)}: ${outcome}`);
  const isSameMode = old.dataset.mode === fresh.dataset.mode;
  const form = formOf(old);
  if (!isSameMode && isHeld(form)) return lose(old, outcome);
  if (!isSameMode && !isOwn && isUnderHand(form)) return freeze(old, outcome);
  patchAttributes(old, fresh);
  old.classList.remove("is-frozen");
  patchElement(old.querySelector(".impact"), fresh.querySelector(".impact"));
  patchElement(old.querySelector(".what"), fresh.querySelector(".what"));
  if (!isSameMode) replaceBar(old, form, formOf(fresh));
  else if (!isHeld(form)) patchElement(form, formOf(fresh));
  patchTake(old, fresh);
  patchMembers(old, fresh);
}

// A bar of another kind: its contents change, and the focus goes to the group.
function replaceBar(group, form, fresh) {
  const hadFocus = form.contains(document.activeElement);
  patchAttributes(form, fresh);
  form.replaceChildren(...fresh.childNodes);
  if (hadFocus) group.focus({ preventScroll: true });
}

function patchTake(old, fresh) {
  const [form, wanted] = [old, fresh].map((group) => group.querySelector("[data-take-form]"));
  if (form && wanted) patchElement(form, wanted);
  else if (wanted) formOf(old).after(wanted);
  else form?.remove();
}

function patchMembers(old, fresh) {
  const [members, wanted] = [old, fresh].map((group) => group.querySelector("[data-members]"));
  if (!members || !wanted || members.hidden || wanted.hidden) return;
  const isFilled = members.childElementCount > 0;
  if (!isFilled || !isUnderHand(members)) return patchChildren(members, wanted);
  // No row moves under the pointer or the focus: those that are no longer pending stay, greyed.
  const present = new Set([...wanted.querySelectorAll("[data-member]")].map((row) => row.id));
  for (const row of members.querySelectorAll("[data-member]")) {
    const isGone = !present.has(row.id);
    row.classList.toggle("fading", isGone);
    const box = row.querySelector("input");
    if (isGone) box.checked = false;
    box.disabled = isGone;
  }
  const rows = members.querySelector("tbody");
  if (wanted.querySelectorAll("[data-member]").length > rows.childElementCount) patchChildren(members, wanted);
  return undefined;
}

// Somebody else was faster than the decision that is held here.
function lose(group, outcome) {
  const action = dropHeld(formOf(group));
  freeze(group, text("lost-to", { action, outcome: outcome || text("group-gone") }));
  announce(text("lost-to", { action, outcome: outcome || text("group-gone") }));
}

// The bar stays until the pointer and the focus have left it; its buttons do nothing more.
function freeze(group, words) {
  group.classList.add("is-frozen");
  const form = formOf(group);
  for (const button of form.querySelectorAll("[name=action]")) button.setAttribute("aria-disabled", "true");
  say(form, words || text("group-gone"));
}

export const isReady = (group) => group.dataset.mode === MODE_READY && !group.classList.contains("is-frozen");
