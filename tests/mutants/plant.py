#!/usr/bin/env python3
"""Plants the faults of mutants.py in a copy of the project.

usage: plant.py FOLDER

The copy is the working tree with every fault in it, each behind `FORETELL_PLANTED("name")`, which is true where the environment variable
FORETELL_MUTANT has that name: one build holds them all, and the project's own sources hold no trace of any. A fault names its place by a piece of the
source; a piece that is not there exactly once is an error, so the list cannot outlive what it was written for. Files that did not change are left
as they are, so that a second build compiles what is new alone.
"""

import pathlib
import re
import subprocess
import sys

from mutants import MUTANTS, Mutant

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = "framework/base/planted.h"

PLANTED_H = """// Written by tests/mutants/plant.py: which of the planted faults is in force.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace foretell {

// The first time that a fault in force is reached it says so in the file that FORETELL_MUTANT_REACHED names.
inline bool planted_fault(const char* name) {
  const char* asked = std::getenv("FORETELL_MUTANT");
  if (!asked || std::strcmp(asked, name) != 0) return false;
  if (const char* path = std::getenv("FORETELL_MUTANT_REACHED"))
    if (std::FILE* file = std::fopen(path, "a")) std::fclose(file);
  return true;
}

}  // namespace foretell

#define FORETELL_PLANTED(name)                                     \\
  ([]() -> bool {                                                  \\
    static const bool in_force = ::foretell::planted_fault(name); \\
    return in_force;                                               \\
  }())
"""


class Misplaced(Exception):
    """A fault whose place is not in the source, or not once."""


def place_of(mutant: Mutant, text: str) -> tuple[int, int]:
    """Where in the file's text the piece stands that the fault replaces."""
    before, _, rest = mutant.at.partition("«")
    was, _, after = rest.partition("»") if rest else (before, "", "")
    if not rest:
        before = ""
    context = before + was + after
    found = text.count(context)
    if found != 1:
        raise Misplaced(f"{mutant.name}: its place is {found} times in {mutant.file}, expected once: {context!r}")
    start = text.index(context) + len(before)
    return start, start + len(was)


def is_statement(was: str) -> bool:
    return was.rstrip().endswith((";", "}"))


def planted(was: str, faults: list[Mutant]) -> str:
    """The piece of source with its faults, the first one in force winning."""
    out = was
    for mutant in reversed(faults):
        condition = f'FORETELL_PLANTED("{mutant.name}")'
        if is_statement(was):
            out = f"{{ if ({condition}) {{ {mutant.becomes} }} else {{ {out} }} }}"
        else:
            out = f"({condition} ? ({mutant.becomes}) : ({out}))"
    return out


def with_faults(text: str, mutants: list[Mutant]) -> str:
    """A file's text with all of its faults."""
    places: dict[tuple[int, int], list[Mutant]] = {}
    for mutant in mutants:
        places.setdefault(place_of(mutant, text), []).append(mutant)
    end = len(text)
    for (start, stop), faults in sorted(places.items(), reverse=True):
        if stop > end:
            raise Misplaced(f"{faults[0].name}: its place in {faults[0].file} overlaps another fault's")
        text = text[:start] + planted(text[start:stop], faults) + text[stop:]
        end = start
    return f'#include "{HEADER}"\n#line 1 "{mutants[0].file}"\n' + text


def problems(mutants: list[Mutant], root: pathlib.Path = ROOT) -> list[str]:
    """What is wrong with a list of faults and the sources it is for, without building anything."""
    found = []
    names = [mutant.name for mutant in mutants]
    found += [f"{name}: the name is there twice" for name in sorted({n for n in names if names.count(n) > 1})]
    by_file: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        if not re.fullmatch(r"[a-z0-9_]+", mutant.name):
            found.append(f"{mutant.name}: a name is made of a-z, 0-9 and _")
        if not mutant.caught_by:
            found.append(f"{mutant.name}: names no test that catches it")
        if not (root / mutant.file).is_file():
            found.append(f"{mutant.name}: {mutant.file} does not exist")
            continue
        by_file.setdefault(mutant.file, []).append(mutant)
    for file, faults in by_file.items():
        text = (root / file).read_text(encoding="utf-8")
        placed = []
        for mutant in faults:
            try:
                place_of(mutant, text)
                placed.append(mutant)
            except Misplaced as why:
                found.append(str(why))
        try:
            if placed:
                with_faults(text, placed)
        except Misplaced as why:
            found.append(str(why))
    return found


def write_if_new(path: pathlib.Path, content: bytes, mode: int | None = None) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if mode is not None:
        path.chmod(mode)


def plant(folder: pathlib.Path) -> None:
    """Brings the copy in `folder` into step with the working tree and the list."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True)
    files = [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    by_file: dict[str, list[Mutant]] = {}
    for mutant in MUTANTS:
        by_file.setdefault(mutant.file, []).append(mutant)
    for name in files:
        content = (ROOT / name).read_bytes()
        if name in by_file:
            content = with_faults(content.decode(), by_file[name]).encode()
        write_if_new(folder / name, content, (ROOT / name).stat().st_mode & 0o777)
    write_if_new(folder / HEADER, PLANTED_H.encode())
    kept = {*files, HEADER}
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in (".h", ".cpp", ".py") and path.relative_to(folder).as_posix() not in kept:
            path.unlink()


def main() -> int:
    wrong = problems(MUTANTS)
    for problem in wrong:
        print(problem, file=sys.stderr)
    if wrong:
        return 2
    plant(pathlib.Path(sys.argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
