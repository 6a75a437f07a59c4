// Every page of the console: one connection to the server, and those parts that the page has.

import { Cards } from "./cards.js";
import { startChoices } from "./choices.js";
import { startClock } from "./clock.js";
import { startCommandPalette } from "./command_palette.js";
import { startCompletion } from "./completion.js";
import { Connection } from "./connection.js";
import { startCopyButtons } from "./copy.js";
import { startDecisions } from "./decide.js";
import { EventStream } from "./event_stream.js";
import { startHistogram } from "./histogram.js";
import { incidentKeys } from "./incident_decide.js";
import { focusMain, startKeys } from "./keys.js";
import { startListOptions } from "./list_options.js";
import { LiveParts } from "./live_parts.js";
import { startMenus } from "./menu.js";
import { Notifications } from "./notifications.js";
import { startOnboarding } from "./onboarding.js";
import { startSelection } from "./selection.js";
import "./submitting.js";
import { SystemStatus } from "./system_status.js";
import { Triage } from "./triage.js";
import { TriageDecisions } from "./triage_decide.js";
import { triageKeys } from "./triage_keys.js";

startChoices();
startMenus();
startClock();
startDecisions();
startOnboarding();
startSelection();
startCompletion();
startHistogram();
startListOptions();
startCopyButtons();

const list = document.querySelector("[data-stream]");
const stream = list && new EventStream(list);
const cards = new Cards();
const status = new SystemStatus();
const parts = new LiveParts(cards.pending);
const notifications = new Notifications(cards.pending);
const openPalette = startCommandPalette();

const area = document.querySelector("[data-triage]");
const triage = area && new Triage(area);
const ownKeys = triage ? triageKeys(triage, new TriageDecisions(triage)) : incidentKeys();

startKeys({ onPause: () => stream?.pause(!stream.paused), onPalette: openPalette, ownKeys });

const connection = new Connection({
  position: list ? Number(list.dataset.seq) : null,
  query: list?.dataset.query ?? "",
  hasTriage: triage !== null,
  onSlow: () => status.showSlow(),
  onState: (state) => status.setConnection(state),
  onFrame: (frame) => {
    status.take(frame);
    cards.take(frame);
    parts.take(frame);
    if (frame.counts?.waiting !== undefined) notifications.take(frame.counts.waiting);
    triage?.take(frame);
    stream?.take(frame);
  },
});
document.querySelector("[data-retry]").addEventListener("click", () => connection.hurry());
focusMain();
status.setConnection("opening");
connection.open();
