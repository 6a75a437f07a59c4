import pytest

from errorkernel.domain import stack_frames
from tests.unit import test_stack_traces as traces

PYTHON = """Traceback (most recent call last):
  File "/srv/app/main.py", line 27, in <module>
    asyncio.run(main())
  File "/usr/lib/python3.11/asyncio/runners.py", line 190, in run
    return runner.run(main)
           ^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.11/site-packages/pool/api.py", line 3, in take
    return connect()
  File "/srv/app/storage.py", line 88, in write
    os.pwrite(self.fd, block, offset)
OSError: [Errno 28] No space left on device
"""
CHAINED = (
    PYTHON
    + """
During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/app/retry.py", line 5, in again
    write()
RuntimeError: gave up
"""
)


def shown(stack):
    """Own frames as ``at function``, folded ones as their number and libraries, other lines in brackets."""
    words = []
    for part in stack_frames.parts(stack):
        if part.frame:
            words.append(f"{part.frame.at} {part.frame.function}")
        else:
            words.append(f"({part.note})" if part.note else f"{len(part.library_frames)}: {part.libraries}")
    return words


def test_the_innermost_frame_is_first_with_its_source_line():
    first = stack_frames.parts(PYTHON)[0].frame
    assert (first.at, first.function, first.source) == (
        "storage.py:88",
        "write",
        "os.pwrite(self.fd, block, offset)",
    )
    assert [part.frame.is_raised for part in stack_frames.parts(PYTHON) if part.frame] == [True, False]


def test_frames_of_libraries_are_folded_under_their_names():
    assert shown(PYTHON) == ["storage.py:88 write", "2: pool, asyncio", "main.py:27 <module>"]


def test_the_failure_that_was_being_handled_follows_with_its_text():
    assert shown(CHAINED)[:3] == [
        "retry.py:5 again",
        "(During handling of the above exception, another exception occurred:)",
        "(OSError: [Errno 28] No space left on device)",
    ]


@pytest.mark.parametrize(
    ("stack", "raised", "libraries"),
    [
        (traces.JAVA, "Billing.java:42", "java.util"),
        (traces.DOTNET, "Billing.cs:42", "System.Linq"),
        (traces.NODE, "billing.js:12", "loader"),
        (traces.FIREFOX, "app.js:1", ""),
        (traces.GO, "billing.go:42", "runtime"),
        (traces.RUST, "", "rust_begin_unwind, core"),
        (traces.RUBY, "billing.rb:12", "pg-1"),
        (traces.PHP, "Billing.php:42", "guzzle"),
        (traces.ELIXIR, "billing", "stdlib"),
    ],
)
def test_traces_of_other_runtimes_have_frames(stack, raised, libraries):
    parts = stack_frames.parts(stack)
    assert [part.frame.at for part in parts if part.frame and part.frame.is_raised] == [raised]
    assert next((part.libraries for part in parts if part.library_frames), "") == libraries


def test_a_trace_of_any_size_costs_a_bounded_number_of_frames():
    deep = "Traceback (most recent call last):\n" + '  File "/app/deep.py", line 1, in down\n    down()\n' * 20_000
    assert len(stack_frames.parts(deep)) == stack_frames.FRAMES_READ
