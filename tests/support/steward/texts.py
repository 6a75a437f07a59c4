"""Texts of Steward and ctrl nodes for the tests: an example of each that is known."""

DUMP = (
    "{{} ship2 [] 0 [] REQHttpGet [http://x] [] REQToFileAppend [corr] false ek 5 0 false 1 5 2 10 10 ek r.log <nil> "
    "[] <nil>}"
)
UNREACHABLE = (
    "info: toNode: {to}, fromNode: {sender}, subject: {to}.{method}, methodArgs: [bash -c {arg}]: max retries reached, "
    "check if node is up and running and if it got a subscriber started for the given REQ type"
)

EXAMPLES = [
    # (text, kind and what tells causes apart, type)
    (
        "info: toNode: ww.ship2, fromNode: ship1, subject: ww.ship2.REQCliCommand.EventACK, "
        "methodArgs: [bash -c ls]: max retries reached, check if node is up and running and if it "
        "got a subscriber started for the given REQ type",
        ("node not reached", "ww.ship2", "cliCommand"),
        "info",
    ),
    (
        "error: methodREQCliCommand: cmd.Run failed : exit status 3, methodArgs: [bash -c x], error_output: a\nb",
        ("command failed", "cliCommand", "exit status 3", "bash"),
        "error",
    ),
    (
        "error: methodREQCliCommand: cmd.Run failed : signal: killed, methodArgs: [bash -c x], error_output: ",
        ("timed out", "cliCommand", "bash"),
        "error",
    ),
    (
        "error: methodREQCliCommand: method timed out: [bash -c x]",
        ("timed out", "cliCommand", "bash"),
        "error",
    ),
    (
        "error: methodREQCliCommand: got <1 number methodArgs",
        ("arguments missing", "cliCommand"),
        "error",
    ),
    (
        'error: methodREQCliCommandCont: cmd.Start failed : exec: "x17": not found, methodArgs: [x17]',
        ("command failed", "cliCommandCont", "Start", 'exec: "x<n>": not found', "x17"),
        "error",
    ),
    (
        "error: methodREQCliCommandCont: cmd.StdoutPipe failed : no, methodArgs: [a]",
        ("command failed", "cliCommandCont", "StdoutPipe", "no", "a"),
        "error",
    ),
    (
        "info: methodREQCliCommandCont: method timeout reached, canceled: methodArgs: [tail -f x], signal: killed",
        ("canceled at its timeout", "cliCommandCont", "tail"),
        "info",
    ),
    (
        "info: methodREQCliCommandCont: method timeout reached, canceling: methodArgs: [tail -f x]",
        ("canceled at its timeout", "cliCommandCont", "tail"),
        "info",
    ),
    (
        'error: methodREQHttpGet: client.Do failed: Get "http://192.0.2.1:81/a": dial tcp '
        "192.0.2.1:81: refused, bailing out: [http://192.0.2.1:81/a]",
        ("http request failed", "httpGet", "192.0.2.1:81"),
        "error",
    ),
    (
        f"error: methodREQHttpGet: not 200, were 404, bailing out: {DUMP}",
        ("http status", "httpGet", "404", "x"),
        "error",
    ),
    (
        "error: methodHttpGet: method timed out: [http://192.0.2.1/]",
        ("timed out", "httpGet", "192.0.2.1"),
        "error",
    ),
    (
        "error: methodREQHttpGet: io.ReadAll failed : unexpected EOF, methodArgs: [http://h/x]",
        ("http answer not read", "httpGet", "h"),
        "error",
    ),
    (
        "error: methodREQHttpGetScheduled: schedule interval value is not a valid int number defined "
        "as a string value seconds: strconv, bailing out: [a b]",
        ("bad schedule", "httpGetScheduled", "interval"),
        "error",
    ),
    (
        "error: methodREQToTailFile: tailFile: /var/x: gone",
        ("file not followed", "tailFile", "<path>: gone"),
        "error",
    ),
    (
        "info: method timeout reached REQTailFile, canceling: [/a]",
        ("canceled at its timeout", "tailFile"),
        "info",
    ),
    (
        "error: subscriberHandler: no such method type: EventACK",
        ("no such method", "eventACK"),
        "error",
    ),
    (
        "error: subscriberHandler: ACL were verified not-OK, doing nothing",
        ("refused",),
        "error",
    ),
    (
        "error: subscriberHandler: ACL or Signature were verified not-OK, doing nothing",
        ("refused",),
        "error",
    ),
    (
        "error: gob decoding failed: unexpected EOF",
        ("not decoded", "gob", "unexpected EOF"),
        "error",
    ),
    (
        "error: cbor decoding failed, subject: a.b, header: map[serial:[cbor]], error: 7 bytes left",
        ("not decoded", "cbor", "<n> left"),
        "error",
    ),
    (
        "error: zstd decoding failed: magic number mismatch",
        ("not decoded", "zstd", "magic number mismatch"),
        "error",
    ),
    (
        "error: spawnWorker: start procFunc failed: no 12",
        ("process not started", "no <n>"),
        "error",
    ),
    (
        "error: spawnWorker: got <-ctx.Done, but unable to unsubscribe natsSubscription failed: x",
        ("not unsubscribed",),
        "error",
    ),
    (
        "error: routeMessagesToProcess: the method do not exist, message dropped: REQNope",
        ("no such method", "nope"),
        "error",
    ),
    (
        "error: fillBuffer: the event type do not exist, so this message will not be put on the "
        "buffer to be processed. Check the syntax used in the json file for the message. Allowed "
        "values are : x, where given: event=y, with subject=z",
        ("no such event",),
        "error",
    ),
    (
        "error: dbUpdate samValue failed: x",
        ("queue not kept",),
        "error",
    ),
    (
        "error:fillBuffer: json marshaling: x",
        ("queue not kept",),
        "error",
    ),
    (
        "error: malformed json received on socket: x\n y",
        ("malformed input",),
        "error",
    ),
    (
        f"error: no toNode or toNodes where specified in the message, dropping message: {DUMP}",
        ("no destination",),
        "error",
    ),
    (
        f"error: newSubjectAndMessage : no 9, message: {DUMP}",
        ("malformed input", "no <n>"),
        "error",
    ),
    (
        "error: newSubjectAndMessage : error: newSubjectAndMessage: no such request type defined: REQNopeReply, "
        f"message: {DUMP}",
        ("no such method", "nopeReply"),
        "error",
    ),
    (
        "error: newSubjectAndMessage: error: newSubjectAndMessage: no such request type defined: REQNope",
        ("no such method", "nope"),
        "error",
    ),
    (
        "error: subscriberHandler: newSubjectAndMessage : error: newSubjectAndMessage: no such request type defined: "
        f"REQNope, message copy: {DUMP}",
        ("no such method", "nope"),
        "error",
    ),
    (
        "error: routeMessagesToProcess: the method do not exist, message dropped: ",
        ("no such method", ""),
        "error",
    ),
    (
        "error: OpProcessStop: no such request type defined: REQNope, check that the methodArgs are correct: ",
        ("no such method", "nope"),
        "error",
    ),
    (
        "error: OpProcessStop: no such request type defined: %!v(MISSING), check that the methodArgs are correct: "
        "REQNope",
        ("no such method", "nope"),
        "error",
    ),
    (
        "<nil>",
        ("reply written",),
        "info",
    ),
    (
        f"info: message read from socket on ship1: {DUMP}",
        ("message read",),
        "info",
    ),
    (
        f"info: readFolder: message read from readFolder on ship1: {DUMP}",
        ("message read",),
        "info",
    ),
    (
        "error: readFolder: failed to open readFile from readFolder: x",
        ("folder not read",),
        "error",
    ),
    (
        "info: OpProcessStart: started id: 23, subject: {ship1 EventACK REQHttpGet 0xc0000801e0}: node: ship1",
        ("process started", "httpGet"),
        "info",
    ),
    (
        "info: OpProcessStop: process stopped id: 15, method: {ship1 EventACK REQHttpGet 0xc0003083c0} on: ship1",
        ("process stopped", "httpGet"),
        "info",
    ),
    (
        "info: OpProcessStop: process stopped id: 14, method: {ship3 httpGet} on: ship3",
        ("process stopped", "httpGet"),
        "info",
    ),
    (
        "error: OpProcessStop: did not find process to stop: {ship1 EventACK REQHttpGet 0xc000308480} on ship1",
        ("no such process", "httpGet"),
        "error",
    ),
    (
        "error: methodREQOpStopProcess failed to stop nats.Subscription: nats: invalid subscription, "
        "methodArgs: [REQHttpGet ship1 subscriber]",
        ("process stopped", "httpGet"),
        "info",
    ),
    (
        "error: methodREQOpStopProcess failed to stop nats.Subscription: nats: timeout, methodArgs: "
        "[x ship1 subscriber]",
        ("process not stopped", "nats: timeout"),
        "error",
    ),
    (
        "error: OpProcessStart: no such request type defined: %!v(MISSING)REQNope",
        ("no such method", "nope"),
        "error",
    ),
    (
        "error: OpProcessStart: no such request type defined: nope",
        ("no such method", "nope"),
        "error",
    ),
    (
        "info: detected new public key for node: ship2. This key will need to be authorized by "
        "operator to be allowed into the system",
        ("key not allowed yet",),
        "info",
    ),
    (
        "addPublicKey: key(s) needs to be allowed by operator for nodes: [b a]",
        ("key not allowed yet",),
        "info",
    ),
    (
        "info: REQKeysAllow : allowed new/updated public key for ship2 to allowed public key map",
        ("key allowed",),
        "info",
    ),
    (
        "error: copySrcSubProcFunc: failed to open file: open /a/b: no such file",
        ("file not opened", "copySrcSubProcFunc", "open <path>: no such file"),
        "error",
    ),
    (
        "error: REQSUBCopyDst.0199e7a0-0000-7000-8000-000000000000: failed to resend the chunk for "
        "the 3 time, giving up",
        ("chunk not sent", "subCopyDst"),
        "error",
    ),
    (
        "error: methodREQToFile.handler: failed to open file, check that you've specified a value "
        "for fileName in the message: directory: a, fileName: b, open: c",
        ("file not opened", "file"),
        "error",
    ),
    (
        "error: methodFile: failed to open file a/b, check that you've specified a value for "
        "fileName in the message: directory: a, fileName: b, open: c",
        ("file not opened", "file"),
        "error",
    ),
    (
        "error: methodREQPing.handler: failed to create toFile directory tree: /a, no",
        ("folder not made", "ping"),
        "error",
    ),
    (
        f"error: REQKeysDeliverUpdate : json unmarshal failed: x, message: {DUMP}",
        ("malformed input", "REQKeysDeliverUpdate"),
        "error",
    ),
    (
        "error: methodREQAclAddAccessList: method timed out: [a b]",
        ("timed out", "aclAddCommand"),
        "info",
    ),
    (
        "error: subscriberHandler: no PreviousMessage.RelayReplyMethod found, defaulting to the "
        f"reply method of previous message: {DUMP} ",
        ("no reply method",),
        "error",
    ),
    (
        "jetstreamConsume: will consume the following subjects: [NODES.a NODES.all]",
        ("node started",),
        "info",
    ),
    (
        'jetstreamConsume: jetstream msg received: subject "NODES.a", data: "(\\xb5/"',
        ("stream message",),
        "info",
    ),
    (
        "copyDstProcSubFunc: chunk 7 is missing",
        ("copy failed", ": chunk <n> is missing"),
        "error",
    ),
]
