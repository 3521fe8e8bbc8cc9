#!/usr/bin/env python3
"""Shows that the tests catch every fault of mutants.py.

usage: run.py [--only NAME,...] [--jobs N] [--folder FOLDER] [--no-control]

Plants all faults in a copy of the project and builds that once; then, for each fault, puts it in force and runs the tests that are expected to catch
it, and the whole suite where these pass. Before, the same build has to pass without a fault. A fault that nothing catches ends the run with exit code
1: it is a test that is missing. Where a run covers the whole list it writes docs/design/mutants.md. Outside data is not used.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from mutants import MUTANTS, Mutant
from plant import ROOT, plant, problems

PAGE = ROOT / "docs/design/mutants.md"
LIMIT = 600 * float(os.environ.get("FORETELL_TEST_PATIENCE", "1"))  # seconds for one test; far more than any takes


class Caught(NamedTuple):
    by: str
    expected: bool


class Survived(NamedTuple):
    why: str


class Build:
    """The build with all faults, and how its tests are run."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.tree, self.build = folder / "tree", folder / "build"

    def make(self, jobs: int) -> None:
        plant(self.tree)
        environment = {**os.environ, "CI": ""}  # a planted fault may leave a variable unused
        subprocess.run(["cmake", "-S", self.tree, "-B", self.build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DFORETELL_UNITY=ON",
                        "--log-level=NOTICE"], check=True, env=environment, stdout=subprocess.DEVNULL)
        subprocess.run(["cmake", "--build", self.build, "--parallel", str(jobs)], check=True, env=environment)

    def environment(self, mutant: str | None, reached: pathlib.Path | None) -> dict[str, str]:
        out = {name: value for name, value in os.environ.items() if name not in ("FORETELL_DATA", "FORETELL_MUTANT")}
        out |= {"OMP_WAIT_POLICY": "passive", "FORETELL_BIN": str(self.build / "foretell"), "FORETELL_SOURCE_DIR": str(self.tree)}
        if mutant:
            out |= {"FORETELL_MUTANT": mutant, "FORETELL_MUTANT_REACHED": str(reached)}
        return out

    def command(self, test: str) -> list[str]:
        """`test` as in the list, or a folder alone for all of its cases."""
        folder, _, name = test.partition(": ")
        if folder == "cli":
            return [sys.executable, str(self.tree / f"tests/cli/{name}.py")]
        executable = str(self.build / f"tests/test_{folder}")
        return [executable, re.sub(r"([\\,\[\]\"*~])", r"\\\1", name), "-w", "NoTests"] if name else [executable, "--abort"]

    def everything(self) -> list[str]:
        folders = sorted(path.name.removeprefix("test_") for path in (self.build / "tests").glob("test_*") if os.access(path, os.X_OK) and path.is_file())
        scripts = sorted(path.stem for path in (self.tree / "tests/cli").glob("*_test.py"))
        return [*folders, *(f"cli: {script}" for script in scripts)]

    def run(self, test: str, mutant: str | None = None) -> tuple[int | None, bool, str]:
        """Exit code (none: it took too long), whether the fault was reached, output."""
        with tempfile.TemporaryDirectory() as folder:
            reached = pathlib.Path(folder) / "reached"
            try:
                done = subprocess.run(self.command(test), cwd=self.tree, env=self.environment(mutant, reached), timeout=LIMIT, check=False,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
            except subprocess.TimeoutExpired:
                return None, reached.exists(), ""
            return (0 if done.returncode == 77 else done.returncode), reached.exists(), done.stdout


def failed_case(test: str, output: str) -> str:
    """The test with the name of the case that failed, where it was asked for a whole folder."""
    if ": " in test:
        return test
    title = re.search(r"^-{70,}\n(.+?)\n(?:  |-{70,})", output, re.MULTILINE | re.DOTALL)
    return f"{test}: {title.group(1)}" if title else test


def judge(build: Build, mutant: Mutant) -> Caught | Survived:
    reached_at_all = False
    for test in [*mutant.caught_by, *build.everything()]:
        code, reached, output = build.run(test, mutant.name)
        reached_at_all |= reached
        if code == 0:
            continue
        if not reached:
            return Survived(f"{test} fails without reaching it")
        if code is None and not mutant.may_hang:
            return Survived(f"{test} took more than {LIMIT:.0f} s, and the fault is not marked as one that may hang")
        return Caught(failed_case(test, output), test in mutant.caught_by)
    return Survived("every test passes" if reached_at_all else "no test reaches it")


def control(build: Build, tests: list[str], jobs: int) -> list[str]:
    """The tests that fail without a fault."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        codes = list(pool.map(lambda test: build.run(test)[0], tests))
    return [test for test, code in zip(tests, codes) if code != 0]


def page(results: dict[str, Caught]) -> str:
    rows = "".join(f"| `{m.name}` | `{m.file}` | {m.fault} | {results[m.name].by} |\n" for m in MUTANTS)
    return f"""# Planted faults

`make mutants` plants each of these {len(MUTANTS)} faults, one at a time, and runs the tests: every one is caught. The list is
`tests/mutants/mutants.py`; this page is written by `tests/mutants/run.py` and checked by `tests/cli/mutants_test.py`.
[architecture.md](architecture.md#planted-faults) says how it works.

| fault | file | what is wrong | caught by |
|---|---|---|---|
{rows}"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", default="", help="names of faults, by commas")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build-mutants")
    parser.add_argument("--no-control", action="store_true", help="do not run the tests without a fault first")
    options = parser.parse_args()
    wanted = [mutant for mutant in MUTANTS if not options.only or mutant.name in options.only.split(",")]
    unknown = set(filter(None, options.only.split(","))) - {mutant.name for mutant in MUTANTS}
    wrong = problems(MUTANTS) + [f"{name}: no such fault" for name in sorted(unknown)]
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 2

    build = Build(options.folder.resolve())
    build.make(options.jobs)
    if not options.no_control:
        tests = sorted({test for mutant in wanted for test in mutant.caught_by}) if options.only else build.everything()
        print(f"without a fault: {len(tests)} tests", flush=True)
        failing = control(build, tests, options.jobs)
        if failing:
            print("fails without a fault:", *failing, sep="\n  ", file=sys.stderr)
            return 2

    start, results, survivors, elsewhere = time.monotonic(), {}, [], []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        running = {pool.submit(judge, build, mutant): mutant for mutant in wanted}
        for done, future in enumerate(concurrent.futures.as_completed(running), 1):
            mutant, result = running[future], future.result()
            left = (time.monotonic() - start) / done * (len(wanted) - done)
            word = "caught  " if isinstance(result, Caught) else "SURVIVED"
            print(f"[{done}/{len(wanted)}, {left:.0f} s left] {word} {mutant.name}: {result[0]}", flush=True)
            if isinstance(result, Survived):
                survivors.append(mutant.name)
                continue
            results[mutant.name] = result
            if not result.expected:
                elsewhere.append(f"{mutant.name}: {result.by}")
    if elsewhere:
        print("caught by another test than the list says:", *sorted(elsewhere), sep="\n  ")
    print(f"{len(results)} of {len(wanted)} faults are caught" + (f"; survivors: {', '.join(sorted(survivors))}" if survivors else ""))
    if survivors:
        return 1
    if not options.only:
        PAGE.write_text(page(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
