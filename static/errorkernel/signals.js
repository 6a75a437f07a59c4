// What tells a reader who looks elsewhere that somebody waits: the icon of the tab, and a sound and a notice if wanted.

import { remember, remembered } from "./storage.js";
import { text } from "./texts.js";

const TONES_HZ = [660, 880];
const TONE_S = 0.12;

export class Signals {
  constructor(waiting) {
    this.waiting = waiting;
    this.icon = document.querySelector("link[rel=icon]");
    this.plain = this.icon.href;
    this.audio = null;
    this.sound = this.startSwitch("sound", () => this.play());
    this.notices = this.startSwitch("notices", () => this.mayNotify());
    this.draw();
  }

  // A switch that keeps its choice; `check` is tried when it is switched on, and may say no.
  startSwitch(name, check) {
    const one = { on: remembered(name) === "on" };
    const button = document.querySelector(`[data-switch=${name}]`);
    if (!button || (name === "notices" && !("Notification" in window))) return one;
    const show = () => {
      button.setAttribute("aria-pressed", String(one.on));
      button.textContent = text(`${name}-${one.on ? "on" : "off"}`);
    };
    button.hidden = false;
    button.addEventListener("click", async () => {
      one.on = !one.on && (await check()) !== false;
      remember(name, one.on ? "on" : "off");
      show();
      if (name === "notices" && !one.on && Notification.permission === "denied") button.textContent = text("notices-refused");
    });
    show();
    return one;
  }

  async mayNotify() {
    return Notification.permission === "granted" || (await Notification.requestPermission()) === "granted";
  }

  take(waiting) {
    const more = waiting > this.waiting;
    this.waiting = waiting;
    this.draw();
    if (!more) return;
    if (this.sound.on) this.play();
    if (this.notices.on && document.hidden) this.notify();
  }

  notify() {
    const notice = new Notification("Steward", { body: text("waiting-now", { count: this.waiting }), tag: "steward-waiting" });
    notice.onclick = () => {
      focus();
      notice.close();
    };
  }

  // Two short tones, made here: no file to fetch. A browser that has not been clicked yet keeps silent.
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
    const count = this.waiting > 99 ? "99+" : String(this.waiting);
    const badge = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#6434cc"/><text x="16" y="23" font-family="sans-serif" font-size="${count.length > 2 ? 15 : 20}" font-weight="700" text-anchor="middle" fill="#fff">${count}</text></svg>`;
    const wanted = this.waiting ? `data:image/svg+xml,${encodeURIComponent(badge)}` : this.plain;
    if (this.icon.href !== wanted) this.icon.href = wanted;
  }
}
