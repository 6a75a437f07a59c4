// The status strip and the banners: how old this picture is, and what is the matter if something is.

import { duration } from "./clock.js";
import { remember, remembered } from "./storage.js";
import { number, text } from "./texts.js";

const KERNEL_LATE_S = 15;
const LOST_SHOWN_AFTER_S = 2; // a link that is back at once needs no banner
const SLOW_SHOWN_MS = 20_000;
const LAG_WARNED = 1_000; // fewer reports than that are stored within the blink of an eye
const LAG_SAID = 50; // a few are under way at any moment …
const STUCK_MS = 8_000; // … unless nothing is stored meanwhile, and the next status says the same
const SIGNS = { opening: "○", live: "●", lost: "○", out: "✕", refused: "✕" };

const find = (name) => document.querySelector(`[data-${name}]`);

function say(element, said) {
  if (element && element.textContent !== said) element.textContent = said;
}

export class Condition {
  constructor() {
    this.state = null;
    this.lostAt = null;
    this.status = null;
    this.statusAt = 0;
    this.seenAt = Date.now(); // when this page was last known to be true
    this.slowAt = 0;
    this.stored = 0;
    this.stuckAt = null; // since when there is something to store, and nothing is stored
    this.hiddenLate = Number(remembered("hidden-late")); // so many late nodes are known to the reader
    find("hide-nodes").addEventListener("click", () => this.hideNodes());
    setInterval(() => this.show(), 1000);
    // What sticks below the banners has to know how high they are.
    new ResizeObserver(([banners]) => {
      document.documentElement.style.setProperty("--banners", `${banners.contentRect.height}px`);
    }).observe(document.querySelector(".banners"));
  }

  link(state) {
    if (state === "live") this.lostAt = null;
    else if (this.lostAt === null && state !== "opening") this.lostAt = Date.now();
    if (state !== this.state) {
      this.state = state;
      find("link").dataset.link = state;
      say(find("link").querySelector(".dot"), SIGNS[state]);
      say(find("link-word"), text(state));
    }
    this.show();
  }

  slow() {
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
    if (frame.counts) say(events, number(frame.counts.events));
    this.show();
  }

  banner(name, isShown, age = null) {
    const banner = document.querySelector(`[data-banner=${name}]`);
    if (age !== null) say(banner.querySelector("[data-age]"), age);
    if (banner.hidden === isShown) banner.hidden = !isShown;
  }

  show() {
    const lostFor = this.lostAt === null ? 0 : (Date.now() - this.lostAt) / 1000;
    this.banner("link", this.state === "lost" && lostFor > LOST_SHOWN_AFTER_S, duration((Date.now() - this.seenAt) / 1000));
    this.banner("out", this.state === "out");
    this.banner("refused", this.state === "refused");
    this.banner("slow", Date.now() - this.slowAt < SLOW_SHOWN_MS);
    // Without a link nothing is known of the kernel, the broker and the nodes, so nothing is said of them.
    const isLost = this.state !== "live" && this.state !== "opening";
    document.querySelector(".condition").classList.toggle("is-stale", isLost);
    if (this.status) this.showStatus(this.state === "live");
  }

  showStatus(isLive) {
    const { kernel_age_s: told, broker, lag, nodes, nodes_late: missing, nodes_gone: gone } = this.status;
    const isUnseen = told === null;
    const age = told === null ? null : told + (isLive ? (Date.now() - this.statusAt) / 1000 : 0);
    const isLate = told === null || told > KERNEL_LATE_S;
    const kernel = find("kernel");
    say(kernel, isUnseen ? text("kernel-unseen") : text("kernel", { age: age < 10 ? `${age.toFixed(1)} s` : duration(age) }));
    kernel.classList.toggle("is-bad", isLate);
    // What the kernel tells of the broker, of reports to store and of nodes is not known any more when it is away.
    const missed = isLate ? 0 : missing;
    say(find("broker"), text(isLate ? "broker-unknown" : broker ? "broker" : "broker-away"));
    find("broker").classList.toggle("is-bad", isLate || !broker);
    say(find("nodes"), missed ? this.saidMissing(missed - gone, gone) : text("nodes", { count: nodes }));
    find("nodes").classList.toggle("is-warn", missed > 0);
    const isStuck = this.stuckAt !== null && Date.now() - this.stuckAt > STUCK_MS;
    say(find("lag"), (lag >= LAG_SAID || isStuck) && !isLate ? text("lag", { count: lag }) : "");
    this.banner("kernel", isLive && isLate, isUnseen ? text("kernel-never") : text("kernel-late", { age: duration(age) }));
    this.banner("broker", isLive && !isLate && !broker);
    this.banner("lag", isLive && !isLate && lag > LAG_WARNED, text("lag", { count: lag }));
    this.banner("nodes", isLive && missed > 0 && missed !== this.hiddenLate, text("nodes-missing", { count: missed }));
  }

  saidMissing(late, gone) {
    let said = text("nodes", { count: this.status.nodes });
    if (late) said = text("nodes-late", { nodes: said, count: late });
    return gone ? text("nodes-gone", { nodes: said, count: gone }) : said;
  }
}
