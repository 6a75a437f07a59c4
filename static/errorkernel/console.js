// Every page of the console: one link to the server, and those parts that the page has.

import { startAnswers } from "./answer.js";
import { Cards } from "./cards.js";
import { startClock } from "./clock.js";
import { Condition } from "./condition.js";
import { startFirst } from "./first.js";
import { startKeys } from "./keys.js";
import { Link } from "./link.js";
import { remember, remembered } from "./storage.js";
import { startJump } from "./jump.js";
import { Parts } from "./parts.js";
import { Signals } from "./signals.js";
import { Stream } from "./stream.js";
import { text } from "./texts.js";

function startTheme() {
  const button = document.querySelector("[data-theme-switch]");
  const word = button.querySelector(".word");
  const themes = ["auto", "light", "dark"];
  let theme = remembered("theme") ?? "auto";
  const show = () => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    word.textContent = text(theme);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    remember("theme", theme);
    show();
  });
  show();
}

startTheme();
startClock();
startAnswers();
startFirst();

const list = document.querySelector("[data-stream]");
const stream = list && new Stream(list);
const cards = new Cards();
const condition = new Condition();
const parts = new Parts(cards.waiting);
const signals = new Signals(cards.waiting);
const jump = startJump();

startKeys({ onPause: () => stream?.pause(!stream.paused), onJump: jump });

const link = new Link({
  position: list ? Number(list.dataset.seq) : null,
  query: list?.dataset.query ?? "",
  onSlow: () => condition.slow(),
  onState: (state) => condition.link(state),
  onFrame: (frame) => {
    condition.take(frame);
    cards.take(frame);
    parts.take(frame);
    if (frame.counts?.waiting !== undefined) signals.take(frame.counts.waiting);
    stream?.take(frame);
  },
});
document.querySelector("[data-retry]").addEventListener("click", () => link.hurry());
condition.link("opening");
link.open();
