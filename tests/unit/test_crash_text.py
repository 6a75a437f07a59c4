"""Ends of standard error as each runtime writes them, and what a person would say that the program died of."""

import pytest

from errorkernel.domain import crash_text

CRASHES = {
    "node": (
        (
            "/app/x.js:1\n"
            "throw new Error('x')\n"
            "^\n"
            "\n"
            "Error: connect ECONNREFUSED 127.0.0.1:1\n"
            "    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1555:16)\n"
            "    at charge (/app/x.js:3:1) {\n"
            "  errno: -111,\n"
            "  code: 'ECONNREFUSED',\n"
            "  syscall: 'connect',\n"
            "  address: '127.0.0.1',\n"
            "  port: 1\n"
            "}\n"
            "\n"
            "Node.js v20.11.0\n"
        ),
        "Error",
        "connect ECONNREFUSED 127.0.0.1:1",
        True,
    ),
    "rust": (
        (
            "thread 'main' panicked at src/main.rs:2:5:\n"
            "index out of bounds: the len is 3 but the index is 5\n"
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n"
        ),
        "panic",
        "index out of bounds: the len is 3 but the index is 5",
        False,
    ),
    "rustold": (
        (
            "thread 'main' panicked at 'boom', src/main.rs:2:5\n"
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n"
        ),
        "panic",
        "boom",
        False,
    ),
    "rusterr": (
        ('Error: Os { code: 2, kind: NotFound, message: "No such file or directory" }\n'),
        "",
        'Error: Os { code: 2, kind: NotFound, message: "No such file or directory" }',
        False,
    ),
    "go": (
        (
            "panic: runtime error: index out of range [5] with length 3\n"
            "\n"
            "goroutine 1 [running]:\n"
            "main.main()\n"
            "\t/app/x.go:5 +0x1d\n"
            "exit status 2\n"
        ),
        "panic",
        "runtime error: index out of range [5] with length 3",
        True,
    ),
    "golog": (
        ("2026/11/30 14:00:01 cannot open: no\nexit status 1\n"),
        "",
        "2026/11/30 14:00:01 cannot open: no",
        False,
    ),
    "java": (
        (
            'Exception in thread "main" java.lang.IllegalStateException: no route\n'
            "\tat com.acme.B.c(B.java:4)\n"
            "\tat com.acme.M.main(M.java:7)\n"
            "Caused by: java.io.IOException: x\n"
            "\t... 2 more\n"
        ),
        "java.lang.IllegalStateException",
        "no route",
        True,
    ),
    "dotnet": (
        (
            "Unhandled exception. System.InvalidOperationException: no route\n"
            "   at A.B.C() in /src/B.cs:line 4\n"
            "   at P.Main()\n"
        ),
        "System.InvalidOperationException",
        "no route",
        True,
    ),
    "ruby": (
        ("x.rb:1:in `charge': no route (RuntimeError)\n\tfrom x.rb:3:in `<main>'\n"),
        "RuntimeError",
        "no route",
        True,
    ),
    "php": (
        (
            "PHP Fatal error:  Uncaught RuntimeException: no route in /x.php:3\n"
            "Stack trace:\n"
            "#0 /x.php(9): charge()\n"
            "#1 {main}\n"
            "  thrown in /x.php on line 3\n"
        ),
        "RuntimeException",
        "no route",
        True,
    ),
    "perl": (
        ("no route at x.pl line 3.\n"),
        "",
        "no route at x.pl line 3.",
        False,
    ),
    "bash": (
        ("x.sh: line 3: foo: command not found\n"),
        "",
        "x.sh: line 3: foo: command not found",
        False,
    ),
    "cpp": (
        (
            "terminate called after throwing an instance of 'std::runtime_error'\n"
            "  what():  no route\n"
            "Aborted (core dumped)\n"
        ),
        "std::runtime_error",
        "no route",
        False,
    ),
    "py": (
        ('log line\nTraceback (most recent call last):\n  File "/a.py", line 1, in f\n    g()\nValueError: no route\n'),
        "ValueError",
        "no route",
        True,
    ),
    "pychain": (
        (
            "Traceback (most recent call last):\n"
            '  File "/a.py", line 1, in f\n'
            "    g()\n"
            "KeyError: 'x'\n"
            "\n"
            "During handling of the above exception, another exception occurred:\n"
            "\n"
            "Traceback (most recent call last):\n"
            '  File "/a.py", line 1, in f\n'
            "    g()\n"
            "ValueError\n"
        ),
        "ValueError",
        "ValueError",
        True,
    ),
    "pysyn": (
        ("  File \"/a.py\", line 1\n    x = (\n        ^\nSyntaxError: '(' was never closed\n"),
        "SyntaxError",
        "'(' was never closed",
        True,
    ),
    "asan": (
        (
            "=================================================================\n"
            "==12==ERROR: AddressSanitizer: heap-use-after-free on address 0x60 at pc 0x\n"
            "    #0 0x4f in charge /app/b.c:4:5\n"
            "SUMMARY: AddressSanitizer: heap\n"
            "==12==ABORTING\n"
        ),
        "AddressSanitizer",
        "heap-use-after-free",
        True,
    ),
    "elixir": (
        ("** (RuntimeError) boom\n    lib/b.ex:1: B.c/1\n"),
        "RuntimeError",
        "boom",
        True,
    ),
    "assert": (
        ("a.out: b.c:3: main: Assertion `x > 1' failed.\nAborted (core dumped)\n"),
        "assertion",
        "a.out: b.c:3: main: Assertion `x > 1' failed.",
        False,
    ),
    "ansi": (
        ("\u001b[31mfatal: no route\u001b[0m\n\n"),
        "",
        "fatal: no route",
        False,
    ),
    "progress": (
        ("10%\r50%\r100%\rfatal: x\r\n"),
        "",
        "fatal: x",
        False,
    ),
    "empty": (
        (""),
        "",
        "",
        False,
    ),
    "java2": (
        ("Error: Could not find or load main class Foo\nCaused by: java.lang.ClassNotFoundException: Foo\n"),
        "Error",
        "Could not find or load main class Foo",
        False,
    ),
    "make": (
        ("gcc: error: x.c: No such file\nmake: *** [Makefile:3: all] Error 1\n"),
        "",
        "gcc: error: x.c: No such file",
        False,
    ),
    "lua": (
        ("lua: x.lua:1: no route\nstack traceback:\n\t[C]: in function 'error'\n"),
        "error",
        "x.lua:1: no route",
        False,
    ),
    "tcl": (
        (
            "copying a.tif\n"
            'couldn\'t open "/nowhere/a.tif": no such file or directory\n'
            "    while executing\n"
            '"open /nowhere/a.tif"\n'
            '    (procedure "load" line 1)\n'
            + "".join(
                f'    invoked from within\n"step{n} {{\n  a.tif\n}}"\n    (procedure "step{n}" line 3)\n'
                for n in range(9)
            )
            + '    (file "x.tcl" line 8)\n'
        ),
        "error",
        'couldn\'t open "/nowhere/a.tif": no such file or directory',
        True,
    ),
    "tcl goes on": (
        'lost: a.tif\n    while executing\n"work"\n    (file "x.tcl" line 8)\n' + "retry\n" * 8 + "gave up\n",
        "",
        "gave up",
        False,
    ),
    "node-str": (
        (
            "node:internal/process/promises:288\n"
            "            triggerUncaughtException(err, true /* fromPromise */);\n"
            "            ^\n"
            "\n"
            '[UnhandledPromiseRejection: This error originated either by throwing ... reason "boom".] {\n'
            "  code: 'ERR_UNHANDLED_REJECTION'\n"
            "}\n"
            "\n"
            "Node.js v20.1.0\n"
        ),
        "",
        '[UnhandledPromiseRejection: This error originated either by throwing ... reason "boom".] {',
        False,
    ),
    "nodesyn": (
        (
            "/app/x.js:3\n"
            "let x = ;\n"
            "        ^\n"
            "\n"
            "SyntaxError: Unexpected token ';'\n"
            "    at internalCompileFunction (node:internal/vm:76:18)\n"
            "\n"
            "Node.js v20.1.0\n"
        ),
        "SyntaxError",
        "Unexpected token ';'",
        True,
    ),
    "eg": (
        (
            "  + Exception Group Traceback (most recent call last):\n"
            '  |   File "/a.py", line 1, in <module>\n'
            "  |     raise ExceptionGroup('many', [ValueError(1)])\n"
            "  | ExceptionGroup: many (1 sub-exception)\n"
            "  +-+---------------- 1 ----------------\n"
            "    | ValueError: 1\n"
            "    +------------------------------------\n"
        ),
        "ExceptionGroup",
        "many (1 sub-exception)",
        True,
    ),
}


@pytest.mark.parametrize("name", CRASHES)
def test_the_line_that_names_the_error_is_found(name: str) -> None:
    stderr, kind, text, has_stack = CRASHES[name]
    crash = crash_text.read(stderr)
    assert (crash.kind, crash.text, bool(crash.stack)) == (kind, text, has_stack)


@pytest.mark.parametrize("name", [name for name in CRASHES if name != "empty"])
def test_what_was_written_before_the_crash_changes_nothing(name: str) -> None:
    stderr, kind, text, _ = CRASHES[name]
    crash = crash_text.read("2026-11-30 starting\nconnecting to db\n" * 20 + stderr)
    assert (crash.kind, crash.text) == (kind, text)


def test_a_program_that_went_on_after_an_error_died_of_its_last_line() -> None:
    went_on = "".join(f"working on {number}\n" for number in range(10))
    assert crash_text.read(CRASHES["py"][0] + went_on + "disk is full\n").text == "disk is full"
