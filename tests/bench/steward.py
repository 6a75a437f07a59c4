"""How fast an error of a Steward node is read, beside the same error in our own JSON, in the same run on one core.

``python -m tests.bench.steward [MESSAGES]``. A Steward error is gob of about 800 bytes, types included, and is read
from payload to event: what is decoded, understood, grouped, and given its id. The JSON one comes with all of that
said by its sender. Every message differs in number, time and text.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from uuid import uuid4

from errorkernel.domain.limits import Limits
from errorkernel.protocol import json_codec as wire
from errorkernel.senders.steward.protocol import envelope, event_mapping
from errorkernel.senders.steward.protocol import message as steward_message
from errorkernel.senders.steward.protocol.envelope import Compression, Format
from errorkernel.senders.steward.protocol.layout import StewardMessage

LIMITS = Limits()
ENOUGH_PER_S = 2000
TEXTS = [
    "error: methodREQCliCommand: cmd.Run failed : exit status {n}, methodArgs: [bash -c /usr/local/bin/sync-charts "
    "--to ship{n}], error_output: rsync: connection unexpectedly closed ({n} bytes received so far)",
    'error: methodREQHttpGet: client.Do failed: Get "http://192.0.2.{n}:8080/status": dial tcp 192.0.2.{n}:8080: '
    "connect: connection refused, bailing out: [http://192.0.2.{n}:8080/status]",
    "info: toNode: ship{n}, fromNode: central, subject: ship{n}.REQCliCommand.EventACK, methodArgs: [bash -c uptime]: "
    "max retries reached, check if node is up and running and if it got a subscriber started for the given REQ type",
    "error: copySrcSubHandler: failed to read chunk {n} of /data/charts/{n}.tif: unexpected EOF, on hub for ship{n}",
]


def texts(count: int) -> list[str]:
    return [TEXTS[number % len(TEXTS)].format(n=number % 97) for number in range(count)]


def steward_payload(number: int, text: str, form: Format, layout: str) -> bytes:
    message = StewardMessage(
        to_node="errorCentral",
        id=number,
        data=f"Tue Nov 24 10:{number // 60 % 60:02}:{number % 60:02} 2026, node: hub, {text}\n".encode(),
        method="REQErrorLog",
        arg_signature=bytes(range(64)),
        from_node="hub",
        ack_timeout=60,
        retries=10,
        method_timeout=10,
        directory="errorLog",
        file_name="error.log",
    )
    return steward_message.encode(message, form, layout)


def json_payload(number: int, text: str) -> bytes:
    event = {
        "v": 1, "id": str(uuid4()), "type": "error", "level": "error", "process": "REQCliCommand",
        "error": {"kind": "command failed", "text": text},
        "message": {"method": "REQCliCommand", "to_node": "hub", "data": "bash -c x"},
        "occurred_at": f"2026-11-24T10:{number // 60 % 60:02}:{number % 60:02}Z",
        "fingerprint": ["command failed", "bash"], "tags": {"source": "steward"},
    }  # fmt: skip
    return json.dumps(event).encode()


def from_steward(payload: bytes) -> None:
    event_mapping.report(
        event_mapping.read("errorCentral.REQErrorLog.EventACK", {"serial": "gob", "cmp": "none"}, payload), LIMITS
    )


def decoded_only(payload: bytes) -> None:
    event_mapping.read("errorCentral.REQErrorLog.EventACK", {"serial": "gob", "cmp": "none"}, payload)


def from_ctrl(payload: bytes) -> None:
    event_mapping.report(event_mapping.read("errorCentral.errorLog", {}, payload), LIMITS)


def from_json(payload: bytes) -> None:
    wire.decode_event(payload, LIMITS)


def rate(read: Callable[[bytes], None], payloads: Sequence[bytes]) -> float:
    """Messages a second of processor time, best of three."""
    best = 0.0
    for _ in range(3):
        began = time.thread_time()
        for payload in payloads:
            read(payload)
        best = max(best, len(payloads) / (time.thread_time() - began))
    return best


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    said = texts(count)
    gob = [steward_payload(number, text, Format.GOB, "A23") for number, text in enumerate(said)]
    cbor = [
        envelope.pack(steward_payload(number, text, Format.CBOR, "B27"), Compression.ZSTD)
        for number, text in enumerate(said)
    ]
    plain = [json_payload(number, text) for number, text in enumerate(said)]
    base = rate(from_json, plain)
    print(f"json, {sum(map(len, plain)) // count} bytes: {base:,.0f} events/s")
    for name, read, payloads in (
        ("steward, gob, decoded only", decoded_only, gob),
        ("steward, gob, to an event", from_steward, gob),
        ("ctrl, zstd with cbor, to an event", from_ctrl, cbor),
    ):
        found = rate(read, payloads)
        size = sum(map(len, payloads)) // count
        print(f"{name}, {size} bytes: {found:,.0f}/s, {found / base:.3f} of json's")
        assert found >= ENOUGH_PER_S


if __name__ == "__main__":
    main()
