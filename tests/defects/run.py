"""Plant every mistake of the catalogue and print what dgtool and its peers say: ``make defects``.

Every line is a case: the verdict, whether the right place was named first, whether the cause was, and what
reprod_log's default check and PaDiff say of the same port. Rates come last.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from parity import CouldNotRunError, Run, check
from tests.defects.catalogue import BY_ID, CATALOGUE, TRIPLES
from tests.defects.clean import CLEAN, REWRITES
from tests.defects.pairs import PAIRS, example_inputs
from tests.defects.peers import padiff_case, padiff_verdicts, reprod_log_passes
from tests.defects.table import Outcome, as_promised, mark, markdown, peer, peer_rates, rate, rates


def fits(place: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(place, pattern) for pattern in patterns)


def run_case(id: str, net: str, given: dict[str, Any], iters: int, threads: int, folder: Path) -> Any:
    pair = PAIRS[net]
    runs = [Run("float32", iters), Run("float64", iters)]
    return check(pair, pair.options(given), runs, folder / "run", threads=threads)


def judge_defect(id: str, result: Any) -> Outcome:
    """Hold what was found against the catalogue."""
    defect = BY_ID[id]
    expected = "framework" if defect.kind == "framework" else "defect"
    outcome = Outcome(id, defect.kind, result.verdict, result.verdict == expected)
    if defect.kind == "framework":
        # A difference that changes nothing else leaves the run's verdict alone, and is a finding all the same.
        outcome.right = result.verdict in ("framework", "rounding")
    found = [finding for finding in result.findings if finding.verdict == expected]
    if found:
        first = found[0]
        outcome.first = f"{first.where}: {first.cause or '-'}"
        outcome.located = fits(first.where, defect.where)
        outcome.caused = first.cause in defect.causes
        outcome.wrong_cause = any(each.cause and each.cause not in defect.causes for each in found)
    else:
        outcome.located = outcome.caused = outcome.right = False
    return outcome


def judge_several(id: str, defects: tuple[str, ...], result: Any) -> Outcome:
    outcome = Outcome(id, "several", result.verdict, result.verdict == "defect")
    named = [
        any(
            fits(finding.where, BY_ID[each].where) and finding.cause in BY_ID[each].causes
            for finding in result.findings
        )
        for each in defects
    ]
    outcome.located = outcome.caused = all(named)
    outcome.first = f"{sum(named)} of {len(named)} named"
    return outcome


@dataclass(frozen=True)
class Case:
    """One run of the catalogue."""

    id: str
    net: str
    given: Mapping[str, Any]
    iters: int
    threads: int
    kind: str
    defects: tuple[str, ...] = ()
    """Of several at once."""


def cases(patterns: Sequence[str]) -> Iterator[Case]:
    """Yield every case that one of the patterns fits."""
    made = [Case(each.id, each.net, each.given, each.iters, 1, each.kind) for each in CATALOGUE]
    made += [Case(each.id, each.net, each.given, each.iters, 1, "several", each.defects) for each in TRIPLES]
    made += [
        Case(each.id, each.net, dict(each.options), each.iters, each.threads, "clean")
        for each in (*CLEAN, *REWRITES)
    ]
    return (each for each in made if fits(each.id, tuple(patterns)))


def outcome_of(case: Case, padiff: Path | None) -> Outcome:
    """Run a case and hold what is said of it against what is true."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            result = run_case(case.id, case.net, dict(case.given), case.iters, case.threads, folder)
        except CouldNotRunError as error:
            # A port that cannot run is seen to be wrong, but nothing is located.
            return Outcome(
                case.id, "stopped", "stopped", case.kind != "clean", False, False, first=str(error)[:60]
            )
        if case.kind == "several":
            outcome = judge_several(case.id, case.defects, result)
        elif case.kind == "clean":
            right = result.verdict in ("match", "rounding", "framework")
            outcome = Outcome(case.id, "clean", result.verdict, right)
            outcome.first = "; ".join(f"{each.where}: {each.cause}" for each in result.findings[:2])
        else:
            outcome = judge_defect(case.id, result)
        if (folder / "run" / "bp_align_diff.log").exists():
            outcome.reprod_log = reprod_log_passes(folder / "run")
        outcome.seconds = time.perf_counter() - start
        if padiff is not None:
            pair = PAIRS[case.net]
            networks = example_inputs(case.net, pair.options(case.given))
            outcome.padiff = padiff_verdicts(padiff, padiff_case(pair, case.given, networks))
    return outcome


def _line(each: Outcome) -> str:
    cells = [each.verdict, mark(each.located), "WRONG" if each.wrong_cause else mark(each.caused)]
    peers = [peer(each.reprod_log), *(peer(each.padiff.get(name)) for name in ("defaults", "readme"))]
    shown = f"{each.kind:10} {each.id:38} {cells[0]:12} {cells[1]:5} {cells[2]:6}"
    return f"{shown} {peers[0]:8} {peers[1]:8} {peers[2]:8} {each.seconds:4.0f} s  {each.first}"


def print_rates(found: list[Outcome]) -> None:
    def shown(values: list[bool]) -> str:
        return f"{rate(values)} ({100 * sum(values) / len(values):.1f} %)" if values else rate(values)

    print()
    for name, values in rates(found).items():
        print(f"{name + ':':27} {shown(values)}")
    for name, caught, alarms in peer_rates(found):
        print(f"{name}: detected {shown(caught)}, clean called wrong {shown(alarms)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("patterns", nargs="*", default=["*"], help="ids of cases, with * and ?")
    parser.add_argument("--padiff", type=Path, help="a Python that has PaDiff installed")
    parser.add_argument("--jobs", type=int, default=2, help="how many cases at once")
    parser.add_argument("--json", type=Path, help="also write the outcomes here")
    parser.add_argument(
        "--markdown", type=Path, help="also write the page here, as docs/defects.md is written"
    )
    given = parser.parse_args()
    if given.padiff:
        given.padiff = given.padiff.absolute()  # it is started in folders of its own
        subprocess.run([given.padiff, "-c", "import padiff"], check=True, capture_output=True)
    print(
        f"{'kind':10} {'case':38} {'verdict':12} {'place':5} {'cause':6} "
        f"{'reprod':8} {'PaDiff':8} {'PaDiff*':8} {'time':>6}  named first"
    )
    found = []
    with ThreadPoolExecutor(given.jobs) as pool:  # what takes time are the processes that each one starts
        for outcome in pool.map(partial(outcome_of, padiff=given.padiff), cases(given.patterns)):
            found.append(outcome)
            print(_line(outcome), flush=True)
    if given.json:
        given.json.write_text(json.dumps([vars(each) for each in found], indent=1) + "\n")
    if given.markdown:
        command = shlex.join(["python", "-m", "tests.defects.run", *sys.argv[1:]])
        given.markdown.write_text(markdown(found, command))
    print_rates(found)
    raise SystemExit(0 if as_promised(found) else 1)


if __name__ == "__main__":
    main()
