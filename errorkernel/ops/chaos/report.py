"""The report of a run, as text."""

from collections.abc import Iterator

from errorkernel.ops.chaos.run import Options, Result

SHOWN = 8


def command(options: Options) -> str:
    """The command that repeats the run."""
    off = f" --break {options.off}" if options.off else ""
    size = f"--faults {options.faults} --every {options.every_s:g} --nodes {options.nodes}"
    return f"steward chaos --seed {options.seed} {size}{off}"


def lines(result: Result) -> Iterator[str]:
    """One line for a run without violations; else also the timeline, the violations and the command to repeat it."""
    options = result.options
    total = sum(len(broken) for broken in result.broken.values())
    if total:
        yield from (f"{at:8.2f} s  {text}" for at, text in result.timeline)
        for name, broken in result.broken.items():
            yield f"{name} ({len(broken)} violations)"
            yield from (f"    {violation}" for violation in broken[:SHOWN])
            if len(broken) > SHOWN:
                yield f"    … and {len(broken) - SHOWN} more"
    gone = f", {result.lost_with_wipes} events lost with wipes" if result.lost_with_wipes else ""
    yield (
        f"seed {options.seed}: {options.faults} faults, {result.events} events, {result.incidents} incidents,"
        f" {result.decisions} decisions ({result.by_rules} by rules), {result.requeued} messages requeued{gone};"
        f" contact after {result.contact_s:.1f} s, settled {result.settled_s:.1f} s later,"
        f" {result.took_s:.0f} s in total: {total} violations"
    )
    if total:
        yield f"Again: {command(options)}"
