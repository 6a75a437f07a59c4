"""Mutated messages of Steward and ctrl nodes against the decoder: a value or a ProtocolError, fast, in little memory.

``python -m tests.support.steward.fuzz --frames 1000000 --seed N``. Every frame goes the whole way from payload to
event. A frame that takes over 50 ms of processor time, that raises anything else, or memory that grows beyond the cap,
fails.
"""

import argparse
import random
import resource
import time
from collections import Counter

from errorkernel.domain.limits import Limits
from errorkernel.protocol.errors import ProtocolError
from errorkernel.senders.steward.protocol import envelope, event_mapping
from errorkernel.senders.steward.protocol.envelope import Compression, pack
from errorkernel.senders.steward.protocol.layout import StewardMessage
from errorkernel.senders.steward.protocol.subjects import ERROR_SUBJECTS
from tests.support.steward.examples import FULL, STEWARD_ERROR_MESSAGE, every_body

FRAME_MAX_S = 0.05
GROWTH_MAX_KIB = 64 * 1024
SUBJECTS = [*ERROR_SUBJECTS, "central.REQHello.EventNACK", "ek.fileAppend"]
TEXTS = [
    "error: methodREQCliCommand: cmd.Run failed : exit status 3, methodArgs: [bash -c x], error_output: a\nb",
    "info: toNode: a.b, fromNode: c, subject: a.b.REQPing.EventACK, methodArgs: []: max retries reached, check",
    "error: methodREQHttpGet: not 200, were 404, bailing out: {{} ship2 [] 0 [72 105] REQHttpGet [http://x] [] "
    "REQToFileAppend [corr] false ek 5 0 false 1 5 2 10 10 ek r.log <nil> [] <nil>}",
    "error: subscriberHandler: handler method failed: error: methodHttpGet: method timed out: [http://192.0.2.1/]",
    "OpProcessStop: {" + "a" * 300 + "} " + "[[[" * 100,
]


class Fuzz:
    """``refused`` counts by reason; ``slowest_s`` is of processor time, so that a busy machine proves nothing."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.values = 0
        self.refused: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.growth_kib = 0
        record = "Thu Jan  2 03:04:05 2025, node: edge7, {}\n"
        messages = [FULL, STEWARD_ERROR_MESSAGE]
        messages += [StewardMessage(from_node="edge7", data=record.format(text).encode()) for text in TEXTS]
        self.originals = [body for message in messages for body in every_body(message)]
        self.limits = Limits()

    def run(self, frames: int) -> None:
        before = _most_memory_kib()
        for _ in range(frames):
            self._one(*self._frame())
        self._weigh(before)

    def run_giants(self) -> None:
        """What costs most for its size: texts made for the patterns, and as many things as are let through."""
        before = _most_memory_kib()
        texts = [
            "[",
            "{",
            "{{} ",
            "{{} a [] 0 [] m [] ",
            "methodArgs: [",
            "a@",
            "a.",
            "a-",
            "::",
            "/",
            "1",
            "a1",
            "a:/",
        ]
        texts += [
            "error: methodX: cmd.Run failed : ",
            "methodA",
            "{a ",
            "info: OpProcessStart: {",
            "\xff",
            "\n",
            "a b ",
        ]
        for text in texts:
            data = ("error: " + text * 65536)[:65536].encode()
            message = StewardMessage(from_node="a", method="REQErrorLog", data=data)
            for _, body in every_body(message):
                self._one({}, body)
        long = envelope.MESSAGE_MAX_BYTES - 100
        empty = StewardMessage(from_node="a", method_args=("",) * 16_000)
        for body in [
            *(body for _, body in every_body(empty)),
            b'{"methodArgs":[' + b'"",' * (long // 3 - 9) + b'""]}',
            b'{"schedule":[' + b"1234," * (long // 5 - 9) + b"1]}",
            b'{"unknown":[' + b"[]," * (long // 3 - 9) + b"1]}",
            b'{"PreviousMessage":' * (long // 20),
            b"\xa1\x66toNode\x7a" + long.to_bytes(4) + b"\xff" * long,
            b"\xa1\x61x\x99\x3e\x80" + b"\xa0" * 16_000,
        ]:
            self._one({}, body)
            self._one({"cmp": "z"}, pack(body, Compression.ZSTD))
            self._one({"cmp": "g"}, pack(body, Compression.GZIP))
        self._weigh(before)

    def _weigh(self, before_kib: int) -> None:
        self.growth_kib = _most_memory_kib() - before_kib
        assert self.growth_kib < GROWTH_MAX_KIB, f"memory grew by {self.growth_kib} KiB"

    def _one(self, headers: dict[str, str], payload: bytes) -> None:
        began = time.thread_time()
        try:
            incoming = event_mapping.read(self.random.choice(SUBJECTS), headers, payload)
            event_mapping.report(incoming, self.limits)
            self.values += 1
        except ProtocolError as exc:
            self.refused[exc.reason] += 1
        except BaseException:
            print(f"headers {headers}, payload {payload.hex()}")
            raise
        took = time.thread_time() - began
        self.slowest_s = max(self.slowest_s, took)
        assert took < FRAME_MAX_S, f"{took:.3f} s for headers {headers}, payload {payload.hex()}"

    def _frame(self) -> tuple[dict[str, str], bytes]:
        """Mostly the message is mutated and then compressed: a mutated frame seldom gets beyond its checksum."""
        form, body = self.random.choice(self.originals)
        compression = self.random.choices(list(Compression), (6, 3, 1))[0]
        if compression is not Compression.NONE and self.random.random() < 0.3:
            payload = self._mutated(pack(body, compression))
        else:
            payload = pack(self._mutated(body), compression)
        headers = {"serial": form.value, "cmp": compression.value}
        if self.random.random() < 0.2:
            choices = ["gob", "cbor", "z", "g", "none", "", "x"]
            headers = {name: self.random.choice(choices) for name in headers if self.random.random() < 0.7}
        return headers, payload

    def _mutated(self, payload: bytes) -> bytes:
        data = bytearray(payload)
        for _ in range(self.random.choice((1, 1, 1, 2, 3, 8))):
            data = self._change(data) or bytearray(b"\0")
        return bytes(data)

    def _change(self, data: bytearray) -> bytearray:
        at = self.random.randrange(len(data))
        end = min(len(data), at + self.random.choice((1, 2, 4, 16, 200)))
        kind = self.random.randrange(8)
        if kind == 0:
            data[at] ^= 1 << self.random.randrange(8)
        elif kind == 1:
            data[at] = self.random.choice((0, 1, 0x7F, 0x80, 0x9B, 0x9F, 0xBB, 0xC4, 0xF6, 0xF8, 0xFE, 0xFF))
        elif kind == 2:
            del data[at:end]
        elif kind == 3:
            data[at:at] = data[at:end] * self.random.choice((1, 2, 50))
        elif kind == 4:
            data[at:at] = self.random.randbytes(end - at)
        elif kind == 5:
            _, other = self.random.choice(self.originals)
            data[at:] = other[min(at, len(other)) :]
        elif kind == 6:
            data[at:end] = b"\xff" * (end - at)
        else:
            data[at : at + 8] = self.random.randrange(1 << self.random.choice((8, 16, 31, 63))).to_bytes(8)
        return data


def _most_memory_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    fuzz = Fuzz(given.seed)
    began = time.perf_counter()
    fuzz.run(given.frames)
    print(f"{given.frames} frames in {time.perf_counter() - began:.0f} s, seed {given.seed}")
    print(f"values {fuzz.values}, refused {dict(fuzz.refused.most_common())}")
    print(f"slowest {fuzz.slowest_s * 1000:.1f} ms of processor time, memory grew by {fuzz.growth_kib} KiB")
    # Afterwards, since the most memory that was ever used does not go down again.
    giants = Fuzz(given.seed)
    giants.run_giants()
    print(f"giants: slowest {giants.slowest_s * 1000:.1f} ms, memory grew by {giants.growth_kib} KiB")


if __name__ == "__main__":
    main()
