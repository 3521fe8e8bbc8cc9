#!/usr/bin/env python3
"""The list of planted faults is in step with the sources, the tests and docs/design/mutants.md, and a normal build holds no trace of it.

Nothing is built or run here: `make mutants` does that.
"""

import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/mutants"))

import plant  # noqa: E402
from mutants import MUTANTS, Mutant  # noqa: E402
from support import BIN, case, check, finish  # noqa: E402

SOURCES = ("framework", "drafters", "verifiers", "policies", "experiments", "tests")
# Strategies whose code is elsewhere.
ELSEWHERE = {"verifiers/rejection.cpp": "framework/api/rejection_walk.cpp"}


def test_list():
    wrong = plant.problems(MUTANTS)
    check(not wrong, "every fault has its place in the sources, once" + "".join("\n        " + line for line in wrong))
    check(len(MUTANTS) >= 40, f"{len(MUTANTS)} faults are planted")
    files = {mutant.file for mutant in MUTANTS}
    missing = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "verifiers").glob("*.cpp"))]
    missing = [file for file in missing if ELSEWHERE.get(file, file) not in files]
    check(not missing, f"every verifier has a fault of its own: none in {', '.join(missing)}" if missing else "every verifier has a fault of its own")


def test_names_of_tests():
    known = {f"cli: {path.stem}" for path in (ROOT / "tests/cli").glob("*_test.py")}
    for path in (ROOT / "tests").rglob("*_test.cpp"):
        folder = path.relative_to(ROOT / "tests").parts[0]
        known |= {f"{folder}: " + name.replace('\\"', '"')
                  for name in re.findall(r'TEST_CASE\(\s*"((?:[^"\\]|\\.)*)"', path.read_text(encoding="utf-8"))}
    unknown = sorted({f"{mutant.name}: {test}" for mutant in MUTANTS for test in mutant.caught_by if test not in known})
    check(not unknown, "the tests that are named exist" + "".join("\n        " + line for line in unknown))


def test_page():
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| (.+?) \| (.+?) \|$", (ROOT / "docs/design/mutants.md").read_text(encoding="utf-8"), re.MULTILINE)
    check([row[:3] for row in rows] == [(m.name, m.file, m.fault) for m in MUTANTS], "docs/design/mutants.md has the list's faults; `make mutants` writes it")


def test_no_trace():
    traces = [path.relative_to(ROOT).as_posix() for folder in SOURCES for path in (ROOT / folder).rglob("*")
              if path.suffix in (".h", ".cpp") and "FORETELL_PLANTED" in path.read_text(encoding="utf-8")]
    check(not traces, f"no source names a planted fault {traces or ''}")
    built = [pathlib.Path(BIN).parent / name for name in ("foretell", "foretell-engine", "libforetell.so", "libforetell_torch.so")]
    check(all(b"FORETELL_MUTANT" not in file.read_bytes() for file in built if file.exists()), "a normal build has no switch for faults")


def test_planting():
    """What plant.py says of faults that do not fit, and what it makes of one that does."""
    text = "int f(int a) {\n  if (a > 1) return a;\n  g(a);\n  g(a + 1);\n  return a > 1;\n}\n"

    def fault(name, at, becomes="b", file="f.cpp"):
        return Mutant(name, file, "", at, becomes, ("base: a test",))

    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "f.cpp").write_text(text, encoding="utf-8")
        wrong = plant.problems([fault("gone", "h(a)"), fault("twice", "a > 1"), fault("far", "g(a)", file="h.cpp"), fault("one", "g(a);"),
                                fault("one", "g(«a + 1»);"), fault("over", "(a > 1) return a;"), fault("lap", "if (a > 1)"), fault("Name", "g(a);"),
                                Mutant("silent", "f.cpp", "", "return «a > 1»;", "b", ())], root)
    for expected in ("gone: its place is 0 times", "twice: its place is 2 times", "far: h.cpp does not exist", "one: the name is there twice",
                     "overlaps another fault's", "Name: a name is made of", "silent: names no test"):
        check(any(expected in line for line in wrong), f"reported: {expected}")

    planted = plant.with_faults(text, [fault("a", "return «a > 1»;", "a < 1"), fault("b", "return «a > 1»;", "true"), fault("c", "g(a);", "")])
    check('return (FORETELL_PLANTED("a") ? (a < 1) : ((FORETELL_PLANTED("b") ? (true) : (a > 1))));' in planted, "two faults share a place")
    check('{ if (FORETELL_PLANTED("c")) {  } else { g(a); } }' in planted, "a statement is left out")
    check(planted.startswith('#include "framework/base/planted.h"\n#line 1 "f.cpp"\n'), "lines keep their numbers")


if (ROOT / plant.HEADER).exists():  # the copy that plant.py makes: its sources are not those that the list is for
    print("SKIPPED mutants_test: the faults are planted here")
    sys.exit(77)
for test in (test_list, test_names_of_tests, test_page, test_no_trace, test_planting):
    case(test)
finish()
