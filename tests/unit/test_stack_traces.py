import pytest

from errorkernel.domain import stack_traces

PYTHON = """Traceback (most recent call last):
  File "/app/jobs/billing.py", line 12, in charge
    rows = fetch(3)
  File "/usr/lib/python3.11/site-packages/db/api.py", line 7, in fetch
    raise Gone
db.Gone: no rows
"""
JAVA = """java.lang.IllegalStateException: no route
\tat java.base/java.util.Objects.requireNonNull(Objects.java:208)
\tat com.acme.Billing$Worker.lambda$charge$3(Billing.java:42)
\tat com.acme.Main.main(Main.java:7)
Caused by: java.io.IOException: x
\t... 2 more
"""
DOTNET = """System.NullReferenceException: Object reference not set
   at System.Linq.Enumerable.First[T](IEnumerable`1 source)
   at Acme.Billing.Charge(Order order) in C:\\src\\Billing.cs:line 42
   at Acme.Program.Main(String[] args) in C:\\src\\Program.cs:line 9
"""
NODE = """TypeError: t is not a function
    at Module._compile (node:internal/modules/cjs/loader:1105:14)
    at Order.charge (/app/src/billing.js:12:9)
    at async Promise.all (index 0)
"""
FIREFOX = "charge@https://cdn.example/app.js:1:2345\nmain@https://cdn.example/app.js:1:9\n"
GO = """panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x48]

goroutine 17 [running]:
panic({0x4a2ac0, 0x5596c0})
\t/usr/local/go/src/runtime/panic.go:884 +0x213
main.(*Billing).Charge(0x0)
\t/app/billing.go:42 +0x1d
main.main.func1()
\t/app/main.go:9 +0x2a
"""
RUST = """thread 'main' panicked at src/billing.rs:4:10:
stack backtrace:
   0: rust_begin_unwind
             at /rustc/9fc6b431/library/std/src/panicking.rs:617:5
   1: core::panicking::panic_fmt
             at /rustc/9fc6b431/library/core/src/panicking.rs:67:14
   2: billing::charge::h1f2e3d4c5b6a7988
             at ./src/billing.rs:4:10
"""
RUBY = """/usr/lib/ruby/gems/3.1.0/gems/pg-1.5/lib/pg.rb:10:in `exec': gone (PG::Error)
\tfrom /app/billing.rb:12:in `block (2 levels) in charge'
\tfrom /app/main.rb:3:in `<main>'
"""
PHP = """#0 /app/vendor/guzzle/Client.php(12): GuzzleHttp\\Client->send()
#1 /app/src/Billing.php(42): Acme\\Billing->charge(7)
#2 {main}
"""
ELIXIR = """** (RuntimeError) boom
    (stdlib 4.2) gen_server.erl:1123: :gen_server.try_dispatch/4
    (billing 0.1.0) lib/billing.ex:12: Billing.charge/1
"""
GDB = """#0  0x00007f8b in raise () from /lib/x86_64-linux-gnu/libc.so.6
#1  0x00005581 in charge (order=0x0) at billing.c:42
#2  0x00005590 in main () at main.c:9
"""
ASAN = """==1==ERROR: AddressSanitizer: heap-use-after-free on address 0x602000000010
    #0 0x4f1 in __interceptor_memcpy (/app/bin+0x4f1)
    #1 0x4f2 in charge /app/billing.c:42:5
    #2 0x4f3 in main /app/main.c:9:3
"""
DART = "#0      Billing.charge (package:app/billing.dart:12:3)\n#1      main (package:app/main.dart:3:1)\n"


@pytest.mark.parametrize(
    ("stack", "place"),
    [
        (PYTHON, "billing.py: charge"),
        (JAVA, "com.acme.Billing$Worker.lambda$charge$"),
        (DOTNET, "Billing.cs: Acme.Billing.Charge"),
        (NODE, "billing.js: Order.charge"),
        (FIREFOX, "app.js: charge"),
        (GO, "billing.go: main.(*Billing).Charge"),
        (RUST, "billing::charge"),
        (RUBY, "billing.rb: charge"),
        (PHP, "Billing.php: Acme\\Billing->charge"),
        (ELIXIR, "billing: Billing.charge/"),
        (GDB, "billing.c: charge"),
        (ASAN, "billing.c: charge"),
        (DART, "billing.dart: Billing.charge"),
        ("no trace at all", ""),
        ("", ""),
    ],
)
def test_the_innermost_frame_of_the_program_itself_is_found(stack: str, place: str) -> None:
    assert stack_traces.place(stack) == place


def test_where_all_frames_are_a_librarys_the_innermost_counts() -> None:
    stack = 'Traceback (most recent call last):\n  File "/x/site-packages/a.py", line 1, in f\n    g()\n'
    assert stack_traces.place(stack) == "a.py: f"


def test_lines_and_callers_do_not_count() -> None:
    moved = PYTHON.replace("line 12", "line 99").replace("Traceback", "Traceback", 1)
    called = moved.replace("  File", '  File "/app/main.py", line 3, in main\n    charge()\n  File', 1)
    assert stack_traces.place(called) == stack_traces.place(PYTHON)
