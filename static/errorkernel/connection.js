// The websocket: opens it, keeps it open, and delivers frames without gap or duplicate.
//
// Every frame names the sequence numbers it covers. A row that has been shown is not shown again; where numbers are
// missing, the connection restarts after the last one shown, and the server sends the missing rows from the database.

import { ROOT } from "./addresses.js";
import { renewLogin } from "./login.js";

const SILENCE_MS = 15_000; // a frame with the status alone comes every 5 s
const OPENING_MS = 10_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const SIGNED_OUT = 4401;
const REFUSED = 4403;
const TOO_SLOW = 4429;
const OTHER_DATABASE = 100_000; // so far behind the page is no delay: the database has been replaced

export class Connection {
  // position: the highest seq on the page, or null where the page shows no events.
  // onFrame(frame): frame.events has only rows that have not been delivered before.
  // query: the search of the page; may be empty.
  // onState("opening" | "live" | "lost" | "out" | "refused"); onSlow(): this browser was too slow for the events.
  // hasTriage: frames of the triage are wanted.
  constructor({ position, query, hasTriage, onFrame, onState, onSlow }) {
    this.position = position;
    this.query = query;
    this.hasTriage = hasTriage;
    this.onSlow = onSlow;
    this.onFrame = onFrame;
    this.onState = onState;
    this.socket = null;
    this.wait = FIRST_WAIT_MS;
    this.isFirst = true;
    this.ended = false;
    this.heardAt = Date.now();
    addEventListener("online", () => this.hurry());
    addEventListener("offline", () => this.ended || this.reconnect(LONGEST_WAIT_MS));
    addEventListener("focus", () => this.hurry());
    document.addEventListener("decided", () => this.hurry());
    addEventListener("pageshow", (event) => event.persisted && this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
    setInterval(() => this.watch(), 1000);
  }

  open() {
    clearTimeout(this.timer);
    this.timer = null;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    // A page without rows needs the system status alone.
    const query = new URLSearchParams(this.position === null ? { events: "0" } : { after: this.position });
    if (this.query) query.set("q", this.query);
    if (this.hasTriage) query.set("triage", "1");
    query.set("lang", document.documentElement.lang);
    const socket = new WebSocket(`${scheme}://${location.host}${ROOT}/ws/live?${query}`);
    this.socket = socket;
    this.isFirst = true;
    this.openedAt = Date.now();
    socket.onmessage = (message) => socket === this.socket && this.take(JSON.parse(message.data));
    socket.onclose = (event) => socket === this.socket && this.closed(event.code);
  }

  take(frame) {
    this.heardAt = Date.now();
    if (frame.snapshot && frame.to + OTHER_DATABASE < this.position) return location.reload();
    if (this.position === null) {
      frame.events = [];
    } else {
      const isGap = frame.from > this.position + 1;
      // Right after connecting the server begins where we asked it to, or at the oldest that it still has: asking
      // again would bring the same rows.
      if (isGap && !this.isFirst) return this.reconnect(0);
      if (isGap) frame.skipped += frame.from - this.position - 1;
      frame.from = Math.min(frame.from, this.position + 1);
      frame.events = frame.events.filter((row) => row.seq > this.position);
      this.position = Math.max(this.position, frame.to);
    }
    this.isFirst = false;
    if (this.ended) this.loggedInAgain();
    this.wait = FIRST_WAIT_MS;
    this.onState("live");
    this.onFrame(frame);
  }

  closed(code) {
    this.socket = null;
    const isRefused = code === SIGNED_OUT || code === REFUSED;
    if (isRefused && !this.isFirst) {
      this.open(); // that login has ended; the browser may have another one by now
    } else if (isRefused) {
      this.ended = true;
      this.onState(code === SIGNED_OUT ? "out" : "refused");
    } else if (code === TOO_SLOW) {
      this.onSlow();
      this.reconnect(0);
    } else {
      this.reconnect(this.wait * (0.75 + Math.random() / 2));
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
    }
  }

  reconnect(delay) {
    this.drop();
    this.timer = setTimeout(() => this.open(), delay);
  }

  // Close without waiting for the other side: on a dead connection its close frame never comes.
  drop() {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    if (socket) socket.close();
    if (!this.ended) this.onState("lost");
  }

  // The reader is back, or asks for it: no reason to wait any longer. They may have logged in elsewhere meanwhile.
  hurry() {
    if (this.socket === null) this.open();
  }

  // The socket was refused before and is not any more.
  loggedInAgain() {
    this.ended = false;
    renewLogin().catch(() => {}); // a rejected decision tries again
  }

  watch() {
    if (this.socket === null) return;
    const isOpen = this.socket.readyState === WebSocket.OPEN;
    const silent = Date.now() - (isOpen ? Math.max(this.heardAt, this.openedAt) : this.openedAt);
    if (silent > (isOpen ? SILENCE_MS : OPENING_MS)) this.reconnect(0);
  }
}
