"""The program of a supervised child that is a Python function: ``python -m errorkernel.node.process.child_main NAME``.

The name is only for the list of processes; the function arrives over the socket. ``multiprocessing`` can make the
modules of the parent, including its main module, importable in a fresh interpreter; that part of it is used.
"""

import multiprocessing.spawn
import os
import pickle
import sys
import traceback

from errorkernel.node.process.child import worker


def main() -> None:
    """Run the function. An exception that escapes is reported or asked about, and ends the process with status 1."""
    me = worker()
    call = me.receive_call()
    _set_python_path(call.python_path)
    multiprocessing.spawn.prepare(pickle.loads(call.preparation))  # noqa: S301 - from our own parent
    function, arguments = pickle.loads(call.call)  # noqa: S301 - from our own parent
    try:
        function(*arguments)
    except Exception as exc:
        traceback.print_exc()
        if call.on_exception == "ask":
            me.ask(exc)
        elif call.on_exception == "restart":
            me.info(str(exc), kind=type(exc).__name__, stack=traceback.format_exc())
        else:
            me.error(exc)
        me.mark_failure_reported()
        sys.exit(1)


def _set_python_path(original: str | None) -> None:
    """The path that made this package importable here must not reach the programs that this one starts."""
    if original is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = original


if __name__ == "__main__":
    main()
