"""Programs of many runtimes that crash under ``steward run``: the event says what a person would say of each."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.product import Product
from tests.support.run_node import Node

PYTHON = """
import sys
def a(): raise OSError("the disk is full")
def b(): return [][1]
globals()[sys.argv[1]]()
"""
NODE = """
function a() { throw new TypeError("the disk is full") }
function b() { require("net").connect(1, "127.0.0.1") }
eval(process.argv[2] + "()")
"""
BASH = """
a() { /no/such/program || exit; }
b() { set -u; echo $missing; }
$1
"""
PERL = """
sub a { die "the disk is full" }
sub b { my $found; $found->run }
&{$ARGV[0]}();
"""
RUBY = """
def a = raise(ArgumentError, "the disk is full")
def b = nil.run
send(ARGV[0])
"""
PHP = """<?php
function a() { throw new DomainException("the disk is full"); }
function b() { $found = null; $found->run(); }
$argv[1]();
"""
JAVA = """
public class Crash {
    public static void main(String[] words) {
        if (words[0].equals("a")) throw new IllegalStateException("the disk is full", new RuntimeException("deeper"));
        Object found = null;
        found.toString();
    }
}
"""
TCL = """
proc a {} { error "the disk is full" }
proc b {} { puts $missing }
[lindex $argv 0]
"""
RUST = """
fn main() {
    let words: Vec<String> = std::env::args().collect();
    if words[1] == "a" { panic!("the disk is full"); }
    println!("{}", words[7]);
}
"""
C = """
#include <assert.h>
int main(int n, char **words) { assert(words[1][0] != 'a'); assert(n > 5); return 0; }
"""
GO = """package main
import "os"
func main() {
    if os.Args[1] == "a" { panic("the disk is full") }
    println(os.Args[7])
}
"""

FULL = "the disk is full"
CRASHES = {
    "python3": ("x.py", PYTHON, "python3 x.py", ("OSError", FULL), ("IndexError", "list index out of range")),
    "node": ("x.js", NODE, "node x.js", ("TypeError", FULL), ("Error", "connect ECONNREFUSED 127.0.0.1:1")),
    "bash": (
        "x.sh", BASH, "bash x.sh",
        ("exit status 127", "/no/such/program: No such file"), ("exit status 1", "missing: unbound variable"),
    ),
    "perl": ("x.pl", PERL, "perl x.pl", ("exit status 255", FULL), ("exit status 255", 'method "run" on an undef')),
    "ruby": ("x.rb", RUBY, "ruby x.rb", ("ArgumentError", FULL), ("NoMethodError", "undefined method")),
    "php": ("x.php", PHP, "php x.php", ("DomainException", FULL), ("Error", "Call to a member function run() on null")),
    "java": (
        "Crash.java", JAVA, "java Crash.java",
        ("java.lang.IllegalStateException", FULL), ("java.lang.NullPointerException", "is null"),
    ),
    "tclsh": (
        "x.tcl", TCL, "tclsh x.tcl", ("error", FULL), ("error", "can't read \"missing\": no such variable"),
    ),
    "rustc": (
        "x.rs", RUST, "rustc -o x x.rs && ./x",
        ("panic", FULL), ("panic", "index out of bounds: the len is 2 but the index is 7"),
    ),
    "gcc": ("x.c", C, "gcc -o x x.c && ./x", ("assertion", "`words[1][0] != 'a'' failed"), ("assertion", "`n > 5'")),
    "go": ("x.go", GO, "go run x.go", ("panic", FULL), ("panic", "index out of range [7] with length 2")),
}  # fmt: skip
"""Runtime → file, source, command, kind and part of the text of the crash ``a``, and of ``b``."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    product = Product(tmp_path_factory.mktemp("up") / "data").start()
    yield Node(product, tmp_path_factory.mktemp("ship1"))
    product.stop()


@pytest.mark.parametrize("runtime", CRASHES)
def test_two_crashes_of_a_runtime_are_two_problems_with_their_texts(node: Node, runtime: str, tmp_path: Path) -> None:
    asks_version = "version" if runtime == "go" else "--version"
    if runtime == "tclsh":  # takes it for a script
        asks_version = os.devnull
    if not shutil.which(runtime) or subprocess.run([runtime, asks_version], capture_output=True).returncode:
        pytest.skip(f"no {runtime} on this machine")
    file, source, command, *expected = CRASHES[runtime]
    (tmp_path / file).write_text(source)
    problems = set()
    for how, (kind, text) in zip("ab", expected, strict=True):
        process = f"{runtime} {how}"
        done = node.run(
            process, "--ask", "--deadline", "0.5", "--on-deadline", "continue",
            "--", "sh", "-c", f"cd $0 && {command} {how}", str(tmp_path),
        )  # fmt: skip
        assert done.returncode
        event = node.event(process)
        assert event["kind"] == kind
        assert text in event["text"]
        assert node.question(process)["text"] == event["text"]
        assert event["tags"]["exit"].startswith(("exit status ", "SIG"))
        problems.add(event["problem"])
    assert len(problems) == 2
