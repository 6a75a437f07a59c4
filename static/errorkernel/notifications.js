// Draws attention to pending incidents: the icon of the tab, and a sound and a browser notification if switched on.

import { announce } from "./announce.js";
import { remember, remembered } from "./storage.js";
import { text } from "./texts.js";

const TONES_HZ = [660, 880];
const TONE_S = 0.12;

export class Notifications {
  constructor(pending) {
    this.pending = pending;
    this.icon = document.querySelector("link[rel=icon]");
    this.plain = this.icon.href;
    this.audio = null;
    this.sound = this.startSwitch("sound", () => this.play());
    this.notices = this.startSwitch("notices", () => this.mayNotify());
    this.draw();
  }

  // A switch that keeps its choice; `check` runs when it is switched on, and may prevent that.
  startSwitch(name, check) {
    const choice = { on: remembered(name) === "on" };
    const button = document.querySelector(`[data-switch=${name}]`);
    if (!button || (name === "notices" && !("Notification" in window))) return choice;
    const show = () => {
      button.setAttribute("aria-pressed", String(choice.on));
      button.textContent = text(`${name}-${choice.on ? "on" : "off"}`);
    };
    button.hidden = false;
    button.addEventListener("click", async () => {
      choice.on = !choice.on && (await check()) !== false;
      remember(name, choice.on ? "on" : "off");
      show();
      if (name === "notices" && !choice.on && Notification.permission === "denied") button.textContent = text("notices-blocked");
    });
    show();
    return choice;
  }

  async mayNotify() {
    return Notification.permission === "granted" || (await Notification.requestPermission()) === "granted";
  }

  take(pending) {
    const more = pending > this.pending;
    this.pending = pending;
    this.draw();
    if (!more) return;
    announce(text("pending-now", { count: pending }));
    if (this.sound.on) this.play();
    if (this.notices.on && document.hidden) this.notify();
  }

  notify() {
    const notice = new Notification("Steward", { body: text("pending-now", { count: this.pending }), tag: "steward-pending" });
    notice.onclick = () => {
      focus();
      notice.close();
    };
  }

  // Two short tones, synthesised: no file to fetch. Browsers play nothing before the first click.
  play() {
    this.audio ??= new AudioContext();
    this.audio.resume();
    TONES_HZ.forEach((pitch, place) => {
      const tone = this.audio.createOscillator();
      const volume = this.audio.createGain();
      const start = this.audio.currentTime + place * TONE_S;
      tone.frequency.value = pitch;
      volume.gain.setValueAtTime(0.1, start);
      volume.gain.exponentialRampToValueAtTime(0.001, start + TONE_S);
      tone.connect(volume).connect(this.audio.destination);
      tone.start(start);
      tone.stop(start + TONE_S);
    });
  }

  draw() {
    const count = this.pending > 99 ? "99+" : String(this.pending);
    const badge = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#6434cc"/><text x="16" y="23" font-family="sans-serif" font-size="${count.length > 2 ? 15 : 20}" font-weight="700" text-anchor="middle" fill="#fff">${count}</text></svg>`;
    const wanted = this.pending ? `data:image/svg+xml,${encodeURIComponent(badge)}` : this.plain;
    if (this.icon.href !== wanted) this.icon.href = wanted;
  }
}
