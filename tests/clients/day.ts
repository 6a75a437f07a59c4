// A day of an operator with the types that openapi-typescript generates and openapi-fetch. ADDRESS, TOKEN: of the product.

import createClient from "openapi-fetch";
import type { paths } from "./api.js";

const client = createClient<paths>({
  baseUrl: process.env["ADDRESS"],
  headers: { Authorization: `Bearer ${process.env["TOKEN"]}` },
});

function given<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

const pending = given(await client.GET("/api/v1/incidents", { params: { query: { state: ["open"] } } }));
const incident = pending.items[0];
if (!incident) throw new Error("nothing is pending");

const decidedPath = { params: { path: { id: incident.id } } };
const decision = given(
  await client.POST("/api/v1/incidents/{id}/decision", { ...decidedPath, body: { action: "kill", reason: "It hangs." } }),
);
const late = await client.POST("/api/v1/incidents/{id}/decision", { ...decidedPath, body: { action: "continue" } });
if (!late.error || !("winner" in late.error)) throw new Error(JSON.stringify(late));

const muted = given(
  await client.POST("/api/v1/problems/{number}/mute", {
    params: { path: { number: incident.problem } },
    body: { more: 100, reason: "It is known." },
  }),
);

const wanted = { name: "all", condition: "process:*", action: "continue", reason: "A test.", enabled: true } as const;
const refused = await client.POST("/api/v1/rules", { body: wanted });
if (!refused.error || !("last_week" in refused.error)) throw new Error(JSON.stringify(refused));
const matched = refused.error.last_week.matched;
const rule = given(await client.POST("/api/v1/rules", { body: { ...wanted, confirm: matched } }));
const disabled = given(
  await client.POST("/api/v1/rules/{number}/disable", {
    params: { path: { number: rule.id } },
    body: { reason: "Enough." },
  }),
);

const events: number[] = [];
let after: number | null = 0;
while (after !== null) {
  const query: { after: number; limit: number } = { after, limit: 10 };
  const page: { items: { seq: number }[]; next: number | null } = given(
    await client.GET("/api/v1/events", { params: { query } }),
  );
  events.push(...page.items.map((event) => event.seq));
  after = page.next;
}

console.log(
  JSON.stringify({
    pending: pending.items.length,
    decided: decision.action,
    winner: late.error.winner,
    problem: muted.state,
    matched,
    enabled: [rule.enabled, disabled.enabled],
    events,
  }),
);
