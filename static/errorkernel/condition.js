// The status strip and the banners: how old this picture is, and what is the matter if something is.

import { duration } from "./clock.js";

const KERNEL_LATE_S = 15;
const LOST_SHOWN_AFTER_S = 2; // a link that is back at once needs no banner
const WORDS = {
  opening: ["○", "connecting"],
  live: ["●", "live"],
  lost: ["○", "not connected"],
  out: ["✕", "signed out"],
  refused: ["✕", "not allowed"],
};

const find = (name) => document.querySelector(`[data-${name}]`);

function say(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

export class Condition {
  constructor() {
    this.state = null;
    this.lostAt = null;
    this.status = null;
    this.statusAt = 0;
    this.seenAt = Date.now(); // when this page was last known to be true
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
      say(find("link").querySelector(".dot"), WORDS[state][0]);
      say(find("link-word"), WORDS[state][1]);
    }
    this.show();
  }

  take(frame) {
    this.seenAt = Date.now();
    if (frame.status) {
      this.status = frame.status;
      this.statusAt = Date.now();
    }
    const events = document.querySelector("[data-count=events]");
    if (frame.counts) say(events, frame.counts.events.toLocaleString("en"));
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
    // Without a link nothing is known of the kernel, the broker and the nodes, so nothing is said of them.
    const isLost = this.state !== "live" && this.state !== "opening";
    document.querySelector(".condition").classList.toggle("is-stale", isLost);
    if (this.status) this.showStatus(this.state === "live");
  }

  showStatus(isLive) {
    const { kernel_age_s: told, broker, lag, nodes, nodes_late: late } = this.status;
    const age = told === null ? null : told + (isLive ? (Date.now() - this.statusAt) / 1000 : 0);
    const isLate = told === null || told > KERNEL_LATE_S;
    const kernel = find("kernel");
    say(kernel, told === null ? "kernel never heard" : `kernel ${age < 10 ? `${age.toFixed(1)} s` : duration(age)}`);
    kernel.classList.toggle("is-bad", isLate);
    say(find("broker"), broker ? "broker ok" : "broker away");
    find("broker").classList.toggle("is-bad", !broker);
    say(find("nodes"), `${nodes} node${nodes === 1 ? "" : "s"}${late ? `, ${late} late` : ""}`);
    find("nodes").classList.toggle("is-warn", late > 0);
    say(find("lag"), lag > 0 ? `${lag.toLocaleString("en")} still to store` : "");
    this.banner("kernel", isLive && isLate, told === null ? "yet" : `for ${duration(age)}`);
    this.banner("broker", isLive && !isLate && !broker);
  }
}
