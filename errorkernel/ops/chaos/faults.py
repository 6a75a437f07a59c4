"""Faults of an instance: each begins, lasts, and is undone. They may overlap."""

import signal
from collections.abc import Callable

from errorkernel.ops.chaos import clock
from errorkernel.ops.chaos.instance import TWIN, Instance
from errorkernel.ops.chaos.plan import Fault, Kind
from errorkernel.ops.chaos.proxy import Mode

Undo = Callable[[], None]

_MODES = {
    Kind.LINK_CUT: Mode.CUT,
    Kind.LINK_RESET: Mode.RESET,
    Kind.LINK_SLOW: Mode.SLOW,
    Kind.LINK_DOUBLE: Mode.DOUBLE,
    Kind.LINK_SHUFFLE: Mode.SHUFFLE,
    Kind.LINK_REPLAY: Mode.REPLAY,
}


def begin(instance: Instance, fault: Fault) -> Undo:
    """Begin the fault; returns the function that ends it."""
    if fault.kind in _MODES:
        return _link(instance, fault.target, _MODES[fault.kind])
    match fault.kind:
        case Kind.NODE_CLOCK:
            return _clock(instance, fault)
        case Kind.KERNEL_KILL | Kind.WEB_KILL | Kind.NODE_KILL:
            return _kill(instance, fault.target)
        case Kind.KERNEL_TWIN:
            return _twin(instance)
        case Kind.BROKER_RESTART:
            return _broker(instance, instance.broker.stop)
        case Kind.BROKER_KILL:
            return _broker(instance, instance.broker.kill)
        case Kind.BROKER_WIPE:
            return _wipe(instance)
        case Kind.BROKER_WIPE_LIVE:
            return _wipe_live(instance)
        case _:
            return _pause(instance, fault.target)


def _link(instance: Instance, name: str, mode: Mode) -> Undo:
    link = instance.links[name]
    link.begin(mode)
    return lambda: link.end(mode)


def _kill(instance: Instance, name: str) -> Undo:
    part = instance.parts[name]
    part.holds += 1
    part.kill()

    def let_go() -> None:
        part.holds -= 1
        part.tend()

    return let_go


def _pause(instance: Instance, name: str) -> Undo:
    what = instance.broker if name == "broker" else instance.parts[name]
    paused = what.pid
    what.signal(signal.SIGSTOP)

    def go_on() -> None:
        # Another fault may have ended it meanwhile: the new process was not paused.
        if what.pid == paused:
            what.signal(signal.SIGCONT)

    return go_on


def _twin(instance: Instance) -> Undo:
    twin = instance.parts[TWIN]
    twin.holds -= 1
    twin.tend()
    go_on = _pause(instance, "kernel")

    def end_twin() -> None:
        go_on()
        twin.holds += 1
        if twin.holds > 0:
            twin.kill()

    return end_twin


def _broker(instance: Instance, end: Callable[[], None]) -> Undo:
    broker = instance.broker
    broker.holds += 1
    end()

    def let_go() -> None:
        broker.holds -= 1
        broker.tend()

    return let_go


def _wipe(instance: Instance) -> Undo:
    """All nodes are cut off first: decisions made meanwhile are only in JetStream when its data is removed."""
    undos = [_link(instance, name, Mode.CUT) for name in instance.nodes]

    def wipe() -> None:
        instance.broker.wipe()
        instance.broker.tend()
        for undo in undos:
            undo()

    return wipe


def _wipe_live(instance: Instance) -> Undo:
    """The product sees that the broker cannot store. Chaos restarts the broker, since the product did not start it."""
    instance.broker.remove_files()

    def start_again() -> None:
        instance.broker.kill()
        instance.broker.tend()

    return start_again


def _clock(instance: Instance, fault: Fault) -> Undo:
    part, file = instance.parts[fault.target], instance.places[fault.target].clock

    def jump(offset_s: float) -> None:
        clock.jump(file, offset_s)
        part.signal(signal.SIGUSR1)

    jump(fault.amount_s)
    return lambda: jump(0.0)
