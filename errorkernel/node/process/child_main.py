"""The program of a supervised child that is a Python function: ``python -m errorkernel.node.process.child_main NAME``.

The name is for whoever looks at the list of processes; what to do comes over the line. ``multiprocessing`` knows how
to make the parent's modules, its main module included, importable in a fresh interpreter: that part of it is used.
"""

import multiprocessing.spawn
import os
import pickle
import sys
import traceback

from errorkernel.node.process.child import worker


def main() -> None:
    """Run the function; tell of an exception that escapes from it, or ask about it, and end with status 1."""
    me = worker()
    work = me.work()
    _set_python_path(work.python_path)
    multiprocessing.spawn.prepare(pickle.loads(work.preparation))  # noqa: S301 - from our own parent
    function, arguments = pickle.loads(work.call)  # noqa: S301 - from our own parent
    try:
        function(*arguments)
    except Exception as exc:
        traceback.print_exc()
        if work.on_exception == "ask":
            me.ask(exc)
        elif work.on_exception == "restart":
            me.info(str(exc), kind=type(exc).__name__, stack=traceback.format_exc())
        else:
            me.error(exc)
        me.told()
        sys.exit(1)


def _set_python_path(original: str | None) -> None:
    """What made this package importable here is nothing for the programs that we start."""
    if original is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = original


if __name__ == "__main__":
    main()
