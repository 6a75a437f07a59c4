"""What came of a run, in words."""

from collections.abc import Iterator

from errorkernel.ops.chaos.run import Options, Result

SHOWN = 8


def command(options: Options) -> str:
    """What repeats the run."""
    off = f" --break {options.off}" if options.off else ""
    size = f"--faults {options.faults} --every {options.every_s:g} --nodes {options.nodes}"
    return f"steward chaos --seed {options.seed} {size}{off}"


def lines(result: Result) -> Iterator[str]:
    """A line for a run that was well; the timeline, what broke and how to repeat it for one that was not."""
    options = result.options
    total = sum(len(broken) for broken in result.broken.values())
    if total:
        yield from (f"{at:8.2f} s  {text}" for at, text in result.timeline)
        for name, broken in result.broken.items():
            yield f"{name} ({len(broken)} times not)"
            yield from (f"    {violation}" for violation in broken[:SHOWN])
            if len(broken) > SHOWN:
                yield f"    … and {len(broken) - SHOWN} more"
    gone = f", {result.lost_with_wipes} plain reports gone with wipes" if result.lost_with_wipes else ""
    yield (
        f"seed {options.seed}: {options.faults} faults, {result.events} events, {result.incidents} questions,"
        f" {result.answers} answers ({result.by_rules} by rules), {result.requeued} messages given back{gone};"
        f" contact after {result.contact_s:.1f} s, settled {result.settled_s:.1f} s later,"
        f" {result.took_s:.0f} s in all: {total} violations"
    )
    if total:
        yield f"Again: {command(options)}"
