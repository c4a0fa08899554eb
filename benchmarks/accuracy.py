"""How far figures are from the truth, and whether the truth lies within the bounds. About nine minutes.

    python benchmarks/accuracy.py

On the simulated machine, by whole processes: constant power, square waves from 1 ms to 1 s, ramps, random walks;
counters that wrap, reads that fail, devices that vanish; GPUs with means and instants of power only; runs of 0.2 to
30 s, regions of 1 ms to 1 s. Then other tools beside ours on the same machine: see peers.py.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import peers
import truths
from harness import MS, PYTHON, Report, begin, nvml_stub, percentile
from truths import AT_LEAST, MISSING, RIGHT, WRONG, Outcome
from watching import watched

import perun_like
from perun_like.model.node import NodeType
from perun_like.store.reader import read_recording
from perun_like.testing import Constant, FuseUnavailableError, Machine, Power, SquareWave, Zone, simulated_powercap

PERIODS = {"10ms": 0.1, "100ms": 0.5}  # and the median error in % that is aimed at; the second is the default
REGION_PERIODS = ("1ms", "10ms", "100ms")
TICK_MS = 1.03  # with the lag that is assumed

Groups = dict[tuple[str, ...], list[Outcome]]


def grouped(outcomes: Iterable[Outcome], key: Callable[[Outcome], tuple[str, ...]]) -> Groups:
    """Outcomes by some of what they are."""
    found: Groups = {}
    for outcome in outcomes:
        found.setdefault(key(outcome), []).append(outcome)
    return found


def errors(outcomes: Iterable[Outcome]) -> list[float]:
    """Errors in percent of those that have a value."""
    return [outcome.error_percent for outcome in outcomes if outcome.error_percent is not None]


def within(outcomes: Sequence[Outcome]) -> str:
    """In how many cases the truth lies within the bounds."""
    return f"{sum(outcome.verdict == RIGHT for outcome in outcomes)}/{len(outcomes)}"


def whole(report: Report, periods: Sequence[str], durations: Sequence[float], seed: int) -> list[Outcome]:
    """Runs of all lengths with all kinds of power, and counters that wrap."""
    found: list[Outcome] = []
    for period in periods:
        for number, seconds in enumerate(durations, seed):
            zones = [(kind, Zone(f"intel-rapl:{n}", f"package-{n}", power))
                     for n, (kind, power) in enumerate(truths.powers(number).items())]  # fmt: skip
            found += truths.whole_runs(zones, period, seconds)
            if 0.5 <= seconds <= 10:
                wraps = [("wraps every 256 J", zone) for zone in truths.wrapping(number)]
                found += truths.whole_runs(wraps, period, seconds)
    by_kind = grouped(found, lambda o: (o.kind,))
    rows = []
    for (kind,), those in by_kind.items():
        cells = [_median_95([o for o in those if o.period == period]) for period in periods]
        rows.append((kind, within(those), *cells))
    columns = ["", "within", *(f"{period}: median, 95 %" for period in periods)]
    report.table(f"whole runs of {min(durations)} to {max(durations)} s: error in % by power", columns, rows)
    by_length = grouped(found, lambda o: (_length(o.window_s),))
    rows = []
    for (length,), those in sorted(by_length.items(), key=lambda item: float(item[0][0].split()[0])):
        cells = [_median_95([o for o in those if o.period == period]) for period in periods]
        rows.append((length, within(those), *cells))
    report.table("the same by length", columns, rows)
    for period in periods:
        long = errors(o for o in found if o.period == period and o.window_s >= 1)
        what = f"runs of 1 s and more every {period}, median error"
        report.target(what, statistics.median(long), "%", at_most=PERIODS[period])
    return found


def _median_95(outcomes: Sequence[Outcome]) -> str:
    found = errors(outcomes)
    return f"{percentile(found, 50):.3f} {percentile(found, 95):.3f}" if found else "-"


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def of_regions(
    report: Report, periods: Sequence[str], kinds: Sequence[str], seconds: float, seed: int
) -> list[Outcome]:
    """Regions within regions, at three periods."""
    found: list[Outcome] = []
    for period in periods:
        for number, kind in enumerate(kinds, seed):
            power = truths.powers(number)[kind]
            found += truths.regions(truths.REGIONS, power, period, seconds, number)
    rows = []
    groups = grouped(found, lambda o: (o.period, o.kind))
    for (period, kind), those in sorted(groups.items(), key=lambda item: [float(x.split("m")[0]) for x in item[0]]):
        length_ms = float(kind.split()[0])
        widths = [o.width_percent for o in those if o.width_percent is not None]
        expected = 200 * (float(period[:-2]) + TICK_MS) / length_ms
        unresolved = sum("too short" in str(o.metric.method) for o in those)
        rows.append((f"{kind} every {period}", within(those), _median_95(those), f"{statistics.median(widths):.3g}",
                     f"{expected:.3g}", f"{unresolved}/{len(those)}"))  # fmt: skip
    columns = [
        "",
        "within",
        "error in %: median, 95 %",
        "width in %",
        "2 (period + tick) / length",
        "said to be too short",
    ]
    report.table(f"regions, with {len(kinds)} kinds of power", columns, rows)
    hundred = errors(groups["1ms", "100 ms"])
    report.target("regions of 100 ms every 1ms, median error", percentile(hundred, 50), "%", at_most=0.5)
    report.target("regions of 100 ms every 1ms, 95th percentile", percentile(hundred, 95), "%", at_most=1.2)
    return found


def many_calls(
    report: Report, periods: Sequence[str], kinds: Sequence[str], seconds: float, seed: int
) -> list[Outcome]:
    """Functions of 2 ms, each called some hundred times: what hard bounds can't tell, many calls may."""
    found: list[Outcome] = []
    rows = []
    for period in periods:
        independent, followed = list[Outcome](), list[Outcome]()
        for number, kind in enumerate(kinds, seed):
            power = truths.powers(number)[kind]
            independent += truths.regions(truths.MANY_CALLS, power, period, seconds, number)
            followed += truths.followed_calls(period, seconds + 0.6, number)
        rows.append((f"every {period}, power of its own", *_of_calls(independent)))
        rows.append((f"every {period}, power follows calls", *_of_calls(followed)))
        found += independent + followed
    columns = ["", "within", "error in %: median, 95 %", "width in %", "labelled", "within 95 % interval", "its width"]
    report.table(f"functions of 2 ms, all their calls in {seconds} s", columns, rows)
    stated = _within_intervals(found)
    share = 100 * sum(stated) / len(stated) if stated else None
    report.target("functions of 2 ms: truth within the 95 % interval", share, "%", at_least=95)
    return found


def _of_calls(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    widths = [o.width_percent for o in outcomes if o.width_percent is not None]
    labelled = sum("sum of estimates" in str(o.metric.method) or o.metric.ci95 is not None for o in outcomes)
    stated = _within_intervals(outcomes)
    intervals = [100 * (o.metric.ci95[1] - o.metric.ci95[0]) / o.truth_j for o in outcomes if o.metric.ci95 is not None]
    return (
        within(outcomes),
        _median_95(outcomes),
        f"{statistics.median(widths):.0f}",
        f"{labelled}/{len(outcomes)}",
        f"{sum(stated)}/{len(stated)}" if stated else "none is given",
        f"{statistics.median(intervals):.0f}" if intervals else "-",
    )


def _within_intervals(outcomes: Sequence[Outcome]) -> list[bool]:
    return [o.metric.ci95[0] <= o.truth_j <= o.metric.ci95[1] for o in outcomes if o.metric.ci95 is not None]


def failures(report: Report, runs: int, seed: int) -> list[Outcome]:
    """Counters that fail: there may be no figure, or one that is "at least", but never a wrong one."""
    found = [
        outcome
        for number in range(seed, seed + runs)
        for outcome in truths.whole_runs(truths.failing(number, 2), ("20ms", "100ms")[number % 2], 2)
    ]
    verdicts = (RIGHT, AT_LEAST, MISSING, WRONG)
    rows = []
    for (kind,), those in grouped(found, lambda o: (o.kind,)).items():
        count = Counter(o.verdict for o in those)
        rows.append((kind, *(count[verdict] for verdict in verdicts)))
    report.table(f"{runs} runs of 2 s in which reads fail", ["", *verdicts], rows)
    report.target("wrong figures where reads fail", float(sum(o.verdict == WRONG for o in found)), "", at_most=0)
    return found


def of_gauges(report: Report, durations: Sequence[float], seed: int) -> None:
    """Power without a counter: how often the heuristic bounds hold."""
    if nvml_stub() is None:
        report.target("gauges: truth within the heuristic bounds", None, "%", at_least=95)
        print("\nno C compiler: the library that plays an NVIDIA driver can't be built, gauges are left out")
        return
    found = [
        outcome
        for number, seconds in enumerate(durations, seed)
        for outcome in truths.gauges(number, seconds, ("20ms", "100ms")[number % 2])
    ]
    rows = []
    for (kind, length), those in sorted(grouped(found, lambda o: (o.kind, f"{o.window_s:.0f} s")).items()):
        widths = [o.width_percent for o in those if o.width_percent is not None]
        rows.append((f"{kind}, {length}", within(those), _median_95(those), f"{statistics.median(widths):.2g}"))
    report.table("energy as an integral of power", ["", "within", "error in %: median, 95 %", "width in %"], rows)
    share = 100 * sum(o.verdict == RIGHT for o in found) / len(found)
    report.target("gauges: truth within the heuristic bounds", share, "%", at_least=95)


# For ours the block is a region, as it is the program's own clock that says when the block was for others.
BLOCK = """
import sys, time
from perun_like import region
with region("block"): time.sleep(float(sys.argv[1]))
"""


def beside_peers(report: Report, seconds: float) -> None:
    """A block of some seconds by all tools, each at its default settings."""
    reasons = peers.make() if peers.can_hide_sysfs() else dict.fromkeys(peers.PACKAGES, "no mount namespaces here")
    kinds: dict[str, Zone] = {
        "constant": _package(Constant(220)),
        "square wave of 130 ms": _package(SquareWave(20, 180, 130 * MS)),
        "one wrap": _package(SquareWave(80, 140, 90 * MS), register_bits=24, start_uj=850_000_000, max_power_w=300),
    }
    rows = []
    ours: list[float] = []
    for name in (*OURS, *peers.PACKAGES):
        cells = []
        for zone in kinds.values():
            try:
                error = None if name in reasons else _error(name, zone, seconds)
            except (OSError, ValueError, StopIteration, subprocess.SubprocessError) as problem:
                reasons[name] = f"{type(problem).__name__}: {problem}".partition("\n")[0]
                error = None
            cells.append("-" if error is None else f"{error:+.2f}")
            if name in OURS and error is not None:
                ours.append(abs(error))
        shown = name if name not in peers.made() else f"{name} {peers.version(name)}"
        rows.append((shown, *cells))
    report.table(f"a block of {seconds:g} s, error in %", ["", *kinds], rows)
    for name, reason in reasons.items():
        print(f"{name}: {reason}")
    report.target("a block beside peers, our largest error", max(ours), "%", at_most=1)


def _package(power: Power, **options: float) -> Zone:
    return Zone("intel-rapl:0", "package-0", power, **options)  # type: ignore[arg-type]


def _error(name: str, zone: Zone, seconds: float) -> float | None:
    """How far off a tool is, in percent of the truth; None where it gives no figure."""
    with simulated_powercap(Machine([zone])) as powercap:
        block = OURS[name](powercap.environ, seconds) if name in OURS else peers.measure(name, powercap.root, seconds)
        true_j = powercap.truth_j(zone.path, block.start_ns, block.stop_ns)
    return None if block.energy_j is None else 100 * (block.energy_j / true_j - 1)


def _our_run(environ: dict[str, str], seconds: float) -> peers.Block:
    with watched(["sleep", str(seconds)], "--backend", "rapl", environ=environ) as run:
        run.finish()
        energy = perun_like.load(run.file).find(NodeType.RUN)[0].metrics["cpu_energy_j"]
        return peers.Block(energy.value, *read_recording(run.file).window_ns)


def _our_region(environ: dict[str, str], seconds: float) -> peers.Block:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "block.py")
        path.write_text(BLOCK)
        with watched([PYTHON, str(path), str(seconds)], "--backend", "rapl", environ=environ) as run:
            run.finish()
            (region,) = perun_like.load(run.file).find(NodeType.RUN)[0].regions
            (calls,) = read_recording(run.file).hosts[0].regions
    energy_j = region.metrics["energy_j"].value
    return peers.Block(energy_j, int(calls.start_ns[0]), int(calls.stop_ns[0]))


OURS = {"perun-like, the whole run": _our_run, "perun-like, a region": _our_region}


def _everything(report: Report, seed: int) -> Iterator[Outcome]:
    kinds = list(truths.powers(0))
    yield from whole(report, list(PERIODS), [0.2] * 4 + [0.5] * 4 + [1.0] * 5 + [3.0] * 3 + [10.0, 30.0], seed)
    yield from of_regions(report, REGION_PERIODS, kinds, 5, seed)
    yield from many_calls(report, REGION_PERIODS, kinds[-2:], 6, seed)
    yield from failures(report, 8, seed)
    of_gauges(report, [1, 3, 5] * 4, seed)


def _something(report: Report, seed: int) -> Iterator[Outcome]:
    kinds = list(truths.powers(0))[-1:]
    yield from whole(report, ["100ms"], [1.0], seed)
    yield from of_regions(report, ["1ms"], kinds, 1, seed)
    yield from many_calls(report, ["10ms"], kinds, 1, seed)
    yield from failures(report, 1, seed)
    of_gauges(report, [1], seed)


def main() -> None:
    """Measure and print tables."""
    report, given = begin(__doc__, seed=(1, 1, "of all that is random"))
    try:
        found = list((_something if given.quick else _everything)(report, given.seed))
    except FuseUnavailableError as error:
        print(f"nothing can be measured: the simulated powercap tree needs FUSE: {error}")
        report.close(given.json)
        return
    if not given.quick:
        beside_peers(report, 3)
    counted = [o for o in found if o.verdict in (RIGHT, WRONG)]
    print(f"\n{len(found)} runs and regions, of which {len(counted)} have hard bounds on both sides")
    right = 100 * sum(o.verdict == RIGHT for o in counted) / len(counted)
    report.target("runs and regions with hard bounds", float(len(counted)), "", at_least=1 if given.quick else 2000)
    report.target("truth within hard bounds", right, "%", at_least=100)
    report.close(given.json)


if __name__ == "__main__":
    main()
