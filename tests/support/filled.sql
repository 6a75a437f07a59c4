-- A large fleet's history, for measurements on SQLite; tests/bench/pages.py puts the numbers in. By default a million
-- events of thirty days, 500 nodes with 2,000 processes, 5,000 problems, 50,000 error states, 25,000 questions of which
-- 2,000 are open; merged problems, rules, answers to many and whatever else a page reads. Everything is made of running numbers, so two runs fill the same.

INSERT INTO errorkernel_node (id, name, family, formats, dialects, enabled, public_key, previous_public_key, token_digest, demo, note, created_at, version,
  started_at, heartbeat_at, heartbeat_pauses, names_folded, flood_messages, clock_skew_s, backlog, dropped, last_event_at, events)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $nodes)
SELECT i, CASE i % 50 WHEN 9 THEN printf('node-%03d@steward', i) ELSE printf('node-%03d', i) END,
  CASE i % 50 WHEN 9 THEN 'steward' ELSE '' END, '[]', '[]', 1, '', '', '', 0, '', strftime('$time', $first, 'unixepoch'), '0.1.0',
  strftime('$time', $now - i % 86400, 'unixepoch'), strftime('$time', $now - i % 40, 'unixepoch'), '[]', 0, 0, 0.1, i % 7, 0,
  strftime('$time', $now - i, 'unixepoch'), $events / $nodes
FROM n;

INSERT INTO errorkernel_process (id, node_id, name, incarnation, state, pid, since, first_seen, last_seen, events, failures)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $processes)
SELECT i, 1 + (i - 1) % $nodes, 'worker-' || ((i - 1) / $nodes), 5, 'running', 1000 + i,
  strftime('$time', $now - i % 86400, 'unixepoch'), strftime('$time', $first, 'unixepoch'),
  strftime('$time', $now - i % 600, 'unixepoch'), $events / $processes, $events / $processes / 2
FROM n;

INSERT INTO errorkernel_problem (id, fingerprint, kind, title, why, level, level_rank, count, nodes, first_seen, last_seen,
  state, state_actor, state_reason, muted_releases)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $problems),
  ranked AS (SELECT i, CASE WHEN i % 100 < 2 THEN 4 WHEN i % 100 < 40 THEN 3 WHEN i % 100 < 55 THEN 2 ELSE 1 END AS r FROM n)
SELECT i, printf('%032x', i), 'Kind' || (i % 50), 'copy of chart <n> failed in stage ' || i, 'kind and text',
  CASE r WHEN 4 THEN 'critical' WHEN 3 THEN 'error' WHEN 2 THEN 'warning' ELSE 'info' END, r, $events / $problems, 10,
  strftime('$time', $first, 'unixepoch'), strftime('$time', $now - i * 3, 'unixepoch'), 'open', '', '', '[]'
FROM ranked;

INSERT INTO errorkernel_errorstate (process_id, node_id, problem_id, count, consecutive, last_message, first_seen, last_seen, last_seq, release)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < $processes * 25 - 1)
SELECT 1 + i / 25, (SELECT node_id FROM errorkernel_process WHERE id = 1 + i / 25), 1 + ((1 + i / 25) * 25 + i % 25) % $problems, 20, 0, '', strftime('$time', $first, 'unixepoch'),
  strftime('$time', $now - i % 100000, 'unixepoch'), i + 1, '1.4.' || (i % 7)
FROM n;

-- What people made of problems: some merged into the seventh, some muted, resolved, come back; two remarks each.
UPDATE errorkernel_problem SET merged_into_id = 7 WHERE id % 10 = 7 AND id BETWEEN 17 AND 97;
UPDATE errorkernel_problem SET count = count * 10, nodes = nodes * 5 WHERE id = 7;
UPDATE errorkernel_problem SET state = CASE id % 20 WHEN 3 THEN 'muted' WHEN 5 THEN 'resolved' ELSE 'reopened' END,
  state_at = strftime('$time', $now - id, 'unixepoch'), state_actor = 'user:alice', state_reason = 'it is known',
  resolved_count = CASE id % 20 WHEN 3 THEN NULL ELSE count / 2 END WHERE id % 20 IN (3, 5, 11);

INSERT INTO errorkernel_comment (problem_id, author, text, at)
SELECT id, 'user:alice', 'The cable was changed.', last_seen FROM errorkernel_problem
UNION ALL SELECT id, 'user:bob', 'It was not the cable.', last_seen FROM errorkernel_problem;

INSERT INTO errorkernel_rule (id, name, position, enabled, condition, action, reason, author, revision, after_seq, acts_after_seq, controlled_nodes, created_at,
  changed_at, uses, storm_limit, loop_limit, suspended_reason)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $nodes / 5)
SELECT i, 'kind ' || i, i, i % 2, 'kind:Kind' || i, 'continue', 'it goes on by itself', 'user:alice', 3, 0, 0, '[]',
  strftime('$time', $first, 'unixepoch'), strftime('$time', $first, 'unixepoch'), 40, 100, 5, ''
FROM n;

-- Which process and which of its 25 problems: spread without a pattern that one sees.
INSERT INTO errorkernel_errorevent (seq, id, type, level, level_rank, node_id, process_id, problem_id, incarnation, kind, text,
  stack, message, relay_from_node, tags, release, cut, process_name, repeat, occurred_at, received_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $events),
  of_process AS (SELECT i, 1 + (i * 2654435761 >> 7) % $processes AS p FROM n),
  of_problem AS (SELECT i, p, 1 + (p * 25 + (i * 40503 >> 5) % 25) % $problems AS q FROM of_process),
  ranked AS (
    SELECT i, p, q, $first + i * $step AS at,
      CASE WHEN q % 100 < 2 THEN 4 WHEN q % 100 < 40 THEN 3 WHEN q % 100 < 55 THEN 2 ELSE 1 END AS r
    FROM of_problem)
SELECT i, printf('%012x7000800000000000%04x', CAST(at * 1000 AS INTEGER), i & 65535),
  CASE WHEN i % 40 = 0 THEN 'action' WHEN r = 1 THEN 'info' ELSE 'error' END,
  CASE r WHEN 4 THEN 'critical' WHEN 3 THEN 'error' WHEN 2 THEN 'warning' ELSE 'info' END, r, 1 + (p - 1) % $nodes, p, q, 5,
  'Kind' || (q % 50),
  'copy of chart ' || i || ' to the archive failed after 3 tries: no such file or directory /data/' || (i % 977) || '.tif',
  CASE WHEN r > 2 THEN replace(hex(zeroblob(12)), '00', '  File "copy.py", line 12, in copy') ELSE '' END,
  CASE WHEN i % 3 = 0 THEN '{"id":"' || i || '","method":"REQCopySrc"}' END, '', '{"release":"1.4.' || (i % 7) || '"}', '1.4.' || (i % 7), '', '', 1 + i % 30,
  strftime('$time', at, 'unixepoch'), strftime('$time', at, 'unixepoch')
FROM ranked;

INSERT INTO errorkernel_incident (id, seq, node_id, process_id, problem_id, incarnation, level, kind, text, message, repeat,
  consecutive, state, change, raised_at, opened_at, on_deadline, by_itself, node_missing, release, rules_evaluated, delivered_at, ended_at, outcome_detail,
  new_incarnation)
SELECT id, seq, node_id, process_id, problem_id, 5, level, kind, text, message, repeat, 0,
  CASE WHEN seq > $events - $open * 40 THEN 'open' WHEN seq % 11 = 0 THEN 'stale' WHEN seq % 13 = 0 THEN 'failed' ELSE 'applied' END,
  seq / 40, received_at, received_at, 'escalate', '', '', release, 1, received_at,
  CASE WHEN seq > $events - $open * 40 THEN NULL ELSE strftime('$time', received_at, '+' || (seq / 40 % 900) || ' seconds') END,
  '', 6
FROM errorkernel_errorevent WHERE type = 'action';

INSERT INTO errorkernel_decision (id, incident_id, rule_id, rule_revision, action, actor, approved_by, reason, request_id, decided_at, sent_at)
SELECT id, id, CASE seq / 40 % 5 WHEN 0 THEN 1 END, CASE seq / 40 % 5 WHEN 0 THEN 3 END, CASE seq / 40 % 3 WHEN 0 THEN 'kill' ELSE 'continue' END,
  CASE seq / 40 % 5 WHEN 0 THEN 'rule:1' ELSE 'user:alice' END, '', 'it is slow at night', '', ended_at, ended_at
FROM errorkernel_incident WHERE state != 'open';

-- Twenty answers to many, the first to most of the questions.
INSERT INTO errorkernel_bulkdecision (id, query, action, reason, actor, origin, state, count, needs_approval, approved_by, then_rest, held, proposed_at,
  expires_at, approved_at, ended_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
SELECT i, 'process:*', 'continue', 'the disk is back', 'user:alice', '10.0.0.1', 'done', $open, 0, '', 0, '',
  strftime('$time', $now - i * 3600, 'unixepoch'), strftime('$time', $now - i * 3600 + 900, 'unixepoch'),
  strftime('$time', $now - i * 3600 + 9, 'unixepoch'), strftime('$time', $now - i * 3600 + 99, 'unixepoch')
FROM n;

INSERT INTO errorkernel_bulkdecisionitem (bulk_id, incident_id, result)
SELECT 1, id, CASE seq / 40 % 9 WHEN 0 THEN 'already_decided' ELSE 'decided' END FROM errorkernel_incident
WHERE seq BETWEEN $events - $open * 80 AND $events - $open * 40;

INSERT INTO errorkernel_requeue (id, incident_id, state, actor, reason, request_id, created_at, sent_at, ended_at, detail)
SELECT id, id, 'applied', 'user:alice', 'the disk is back', '', ended_at, ended_at, ended_at, ''
FROM errorkernel_incident WHERE state = 'stale' AND message IS NOT NULL;

INSERT INTO errorkernel_accessdenial (operation, target, node, credential, address, count, first_at, last_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $nodes)
SELECT CASE i % 2 WHEN 0 THEN 'publish' ELSE 'connect' END, 'ek.evt.other', CASE i % 2 WHEN 0 THEN printf('node-%03d', i) ELSE '' END,
  'key:U' || i, '10.0.0.' || i, i, strftime('$time', $first, 'unixepoch'), strftime('$time', $now - i, 'unixepoch')
FROM n;

-- What was done to the processes of the ninth, a Steward node.
INSERT INTO errorkernel_processaction (id, token, node_id, plan, method, state, summary, actor, reason, request_id, listed_processes, worker,
  created_at, ended_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $nodes)
SELECT i, 'token ' || i, 9, 'kill', 'REQCopySrc', 'done', 'It was stopped and started.', 'user:alice', 'it hangs', '', '[]', '',
  strftime('$time', $now - i * 60, 'unixepoch'), strftime('$time', $now - i * 60 + 9, 'unixepoch')
FROM n;

INSERT INTO errorkernel_processactionrequest (action_id, number, ask, result, numbers, detail, sent_at, ended_at)
SELECT id, 1, 'stop', 'stopped', '[]', '', created_at, ended_at FROM errorkernel_processaction
UNION ALL SELECT id, 2, 'start', 'started', '[]', '', created_at, ended_at FROM errorkernel_processaction;

-- It lives for as long as pages are looked at: of a kernel that is late they ask less.
INSERT INTO errorkernel_kernelheartbeat (worker, started_at, at, broker_connected, broker_connected_since, broker_error, lag)
VALUES ('bench', strftime('$time', $now - 86400, 'unixepoch'), strftime('$time', $now + 3600, 'unixepoch'), 1,
  strftime('$time', $now - 86400, 'unixepoch'), '', 0);

INSERT INTO errorkernel_savedsearch (page, name, query_string, shared, created_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
SELECT CASE i % 3 WHEN 0 THEN 'live' WHEN 1 THEN 'events' ELSE 'problems' END, 'view ' || i, 'q=node-' || i, 1,
  strftime('$time', $first, 'unixepoch')
FROM n;

INSERT INTO errorkernel_auditentry (at, actor, action, target, reason, before, after, origin)
SELECT decided_at, actor, 'decide', 'incident:' || incident_id, reason, '{}', '{"action":"' || action || '"}', '10.0.0.1'
FROM errorkernel_decision ORDER BY decided_at;

INSERT INTO errorkernel_incarnation (process_id, number, pid, first_seen, ended_at, ending, failures)
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < $processes * 5 - 1)
SELECT 1 + i / 5, 1 + i % 5, 1000 + i, strftime('$time', $first + i, 'unixepoch'),
  CASE WHEN i % 5 < 4 THEN strftime('$time', $first + i + 60, 'unixepoch') END, CASE WHEN i % 5 < 4 THEN 'crashed' ELSE '' END, 3
FROM n;

INSERT INTO errorkernel_rejectedevent (source, received_at, subject, node, reason, detail, size, head)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $events / 20)
SELECT 'EK_EVENTS:' || i, strftime('$time', $now - ($events / 20 - i), 'unixepoch'), printf('ek.evt.node-%03d', i % 500),
  printf('node-%03d', i % 500), CASE i % 3 WHEN 0 THEN 'not json' WHEN 1 THEN 'no process' ELSE 'too large' END,
  'error.text is missing', 300, zeroblob(300)
FROM n;

INSERT INTO errorkernel_deadletter (process_id, problem_id, digest, message, state, failures, seq, first_at, last_at)
SELECT process_id, problem_id, seq, message, 'kept', 3, seq, received_at, received_at
FROM errorkernel_errorevent WHERE message IS NOT NULL AND seq % 300 = 0;

UPDATE errorkernel_counter SET value = CASE name WHEN 'events' THEN $events WHEN 'changes' THEN $events / 40 ELSE value END;

-- What the intake would have counted.
INSERT INTO errorkernel_minuterollup (minute, debug, info, warning, error, critical, blocked_s)
SELECT CAST(strftime('%s', received_at) AS INTEGER) / 60, SUM(level_rank = 0), SUM(level_rank = 1), SUM(level_rank = 2),
  SUM(level_rank = 3), SUM(level_rank = 4), 900.0
FROM errorkernel_errorevent GROUP BY 1;

INSERT INTO errorkernel_eventrollup (id, events, failures)
SELECT (((1 << 24) | (CAST(strftime('%s', received_at) AS INTEGER) / 3600)) << 36) | process_id, COUNT(*), SUM(level_rank > 2)
FROM errorkernel_errorevent WHERE seq > $events * 22 / 30 GROUP BY 1;

INSERT INTO errorkernel_eventrollup (id, events, failures)
SELECT (((2 << 24) | (CAST(strftime('%s', received_at) AS INTEGER) / 86400)) << 36) | process_id, COUNT(*), SUM(level_rank > 2)
FROM errorkernel_errorevent GROUP BY 1;

INSERT INTO errorkernel_eventrollup (id, events, failures)
SELECT (((3 << 24) | (CAST(strftime('%s', received_at) AS INTEGER) / 3600)) << 36) | problem_id, COUNT(*), SUM(level_rank > 2)
FROM errorkernel_errorevent WHERE seq > $events * 22 / 30 GROUP BY 1;

INSERT INTO errorkernel_eventrollup (id, events, failures)
SELECT (((4 << 24) | (CAST(strftime('%s', received_at) AS INTEGER) / 86400)) << 36) | problem_id, COUNT(*), SUM(level_rank > 2)
FROM errorkernel_errorevent GROUP BY 1;

INSERT INTO errorkernel_eventrollup (id, events, failures)
SELECT (((5 << 24) | (CAST(strftime('%s', received_at) AS INTEGER) / 604800)) << 36) | process_id, COUNT(*), SUM(level_rank > 2)
FROM errorkernel_errorevent GROUP BY 1;

INSERT INTO errorkernel_eventrollup (id, events, failures)
SELECT (((6 << 24) | (CAST(strftime('%s', received_at) AS INTEGER) / 604800)) << 36) | problem_id, COUNT(*), SUM(level_rank > 2)
FROM errorkernel_errorevent GROUP BY 1;
