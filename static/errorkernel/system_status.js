// The status strip and the banners: how old this page is, and which parts of the system need attention.

import { duration } from "./clock.js";
import { remember, remembered } from "./storage.js";
import { number, text } from "./texts.js";

const KERNEL_LATE_S = 15;
const LOST_SHOWN_AFTER_S = 2; // a connection that is back at once needs no banner
const SLOW_SHOWN_MS = 20_000;
const LAG_WARNED = 1_000; // fewer events than that are stored within a second
const LAG_SHOWN = 50; // a few are in flight at any moment …
const STUCK_MS = 8_000; // … unless nothing is stored meanwhile, and the next status says the same
const SIGNS = { opening: "○", live: "●", lost: "○", out: "✕", refused: "✕" };

const find = (name) => document.querySelector(`[data-${name}]`);

function setText(element, value) {
  if (element && element.textContent !== value) element.textContent = value;
}

const missingText = (late, gone) =>
  [late && text("nodes-late", { count: late }), gone && text("nodes-gone", { count: gone })].filter(Boolean).join(", ");

export class SystemStatus {
  constructor() {
    this.state = null;
    this.lostAt = null;
    this.status = null;
    this.statusAt = 0;
    this.seenAt = Date.now(); // when this page was last known to be true
    this.slowAt = 0;
    this.stored = 0;
    this.stuckAt = null; // since when there is something to store, and nothing is stored
    this.hiddenLate = Number(remembered("hidden-late")); // the reader has hidden so many late nodes
    find("hide-nodes").addEventListener("click", () => this.hideNodes());
    setInterval(() => this.show(), 1000);
    // What sticks below the banners has to know how high they are.
    new ResizeObserver(([banners]) => {
      document.documentElement.style.setProperty("--banners", `${banners.contentRect.height}px`);
    }).observe(document.querySelector(".banners"));
  }

  setConnection(state) {
    if (state === "live") this.lostAt = null;
    else if (this.lostAt === null && state !== "opening") this.lostAt = Date.now();
    if (state !== this.state) {
      this.state = state;
      find("connection").dataset.connection = state;
      setText(find("connection").querySelector(".dot"), SIGNS[state]);
      setText(find("connection-word"), text(state));
    }
    this.show();
  }

  showSlow() {
    this.slowAt = Date.now();
    this.show();
  }

  hideNodes() {
    this.hiddenLate = this.status.nodes_late;
    remember("hidden-late", String(this.hiddenLate));
    this.show();
  }

  take(frame) {
    this.seenAt = Date.now();
    if (frame.status) {
      this.status = frame.status;
      this.statusAt = Date.now();
    }
    const isStuck = this.status?.lag > 0 && frame.counts?.events === this.stored;
    this.stuckAt = isStuck ? (this.stuckAt ?? Date.now()) : null;
    this.stored = frame.counts?.events ?? this.stored;
    const events = document.querySelector("[data-count=events]");
    if (frame.counts) setText(events, number(frame.counts.events));
    if (frame.status) setText(document.querySelector("[data-count=approvals]"), String(frame.status.approvals || ""));
    this.show();
  }

  banner(name, isShown, age = null) {
    const banner = document.querySelector(`[data-banner=${name}]`);
    if (age !== null) setText(banner.querySelector("[data-age]"), age);
    if (banner.hidden === isShown) banner.hidden = !isShown;
  }

  show() {
    const lostFor = this.lostAt === null ? 0 : (Date.now() - this.lostAt) / 1000;
    this.banner("connection", this.state === "lost" && lostFor > LOST_SHOWN_AFTER_S, duration((Date.now() - this.seenAt) / 1000));
    this.banner("out", this.state === "out");
    this.banner("refused", this.state === "refused");
    this.banner("slow", Date.now() - this.slowAt < SLOW_SHOWN_MS);
    // Without a connection the status of kernel, broker and nodes is unknown, so it is greyed.
    const isLost = this.state !== "live" && this.state !== "opening";
    document.querySelector(".system-status").classList.toggle("is-stale", isLost);
    if (this.status) this.showStatus(this.state === "live");
  }

  // The kernel reports on the broker, the lag and the nodes: while it is late, nothing of that is known.
  showStatus(isLive) {
    const reported = this.status.kernel_age_s;
    const isLate = reported === null || reported > KERNEL_LATE_S;
    this.banner("deadlines", this.status.deadlines_held);
    this.showKernel(isLive, isLate);
    this.showBroker(isLive, isLate);
    this.showNodes(isLive, isLate);
    this.showLag(isLive, isLate);
    this.showFlooding(isLate);
  }

  showKernel(isLive, isLate) {
    const reported = this.status.kernel_age_s;
    const kernel = find("kernel");
    if (reported === null) {
      setText(kernel, text("kernel-unseen"));
      this.banner("kernel", isLive, text("kernel-never"));
    } else {
      const age = reported + (isLive ? (Date.now() - this.statusAt) / 1000 : 0);
      setText(kernel, isLate ? text("kernel-late-short") : "");
      this.banner("kernel", isLive && isLate, text("kernel-late", { age: duration(age) }));
    }
  }

  showBroker(isLive, isLate) {
    const known = this.status.broker ? "broker" : "broker-away";
    const isBad = isLate || !this.status.broker;
    setText(find("broker"), text(isLate ? "broker-unknown" : known));
    find("broker").classList.toggle("is-bad", isBad);
    find("broker").classList.toggle("hide-phone", !isBad);
    this.banner("broker", isLive && !isLate && !this.status.broker);
  }

  showNodes(isLive, isLate) {
    const { nodes_late: missing, nodes_gone: gone } = this.status;
    const missed = isLate ? 0 : missing;
    find("nodes").hidden = missed === 0;
    if (missed > 0) setText(find("nodes-word"), missingText(missed - gone, gone));
    this.banner("nodes", isLive && missed > 0 && missed !== this.hiddenLate, text("nodes-missing", { count: missed }));
  }

  showLag(isLive, isLate) {
    const { lag } = this.status;
    const isStuck = this.stuckAt !== null && Date.now() - this.stuckAt > STUCK_MS;
    setText(find("lag"), (lag >= LAG_SHOWN || isStuck) && !isLate ? text("lag", { count: lag }) : "");
    this.banner("lag", isLive && !isLate && lag > LAG_WARNED, text("lag", { count: lag }));
  }

  showFlooding(isLate) {
    const node = isLate ? "" : this.status.flooding;
    const link = find("flooding");
    link.hidden = !node;
    if (!node) return;
    link.href = `${link.dataset.nodes}${encodeURIComponent(node)}/`;
    setText(link, text("flooding", { node }));
  }
}
