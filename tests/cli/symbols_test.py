#!/usr/bin/env python3
"""No symbol of ours is defined strong in one object file and weak in another, or strong in two.

Two classes of one name are how it happens: the linker then takes one definition for both without a word, and which one depends on the optimisation.
Checked are all object files of the build but those of tests and plug-ins; a planted pair must be found.
"""

import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from support import check, finish

STRONG, WEAK = set("TDBRC"), set("WVu")


def objects(build: pathlib.Path) -> list[pathlib.Path]:
    """What the build makes now; a folder also keeps objects of targets that are gone."""
    commands = json.loads((build / "compile_commands.json").read_text())
    names = {re.search(r" -o (\S+)", entry["command"]).group(1) for entry in commands}
    return sorted(build / name for name in names if not name.startswith("tests/") and "_pch.dir" not in name and (build / name).exists())


def clashes(files: list[pathlib.Path]) -> list[str]:
    strong, weak = collections.defaultdict(list), collections.defaultdict(list)
    for start in range(0, len(files), 50):
        listed = subprocess.run(["nm", "--defined-only", "--print-file-name", "--format=posix", *files[start:start + 50]],
                                capture_output=True, text=True, check=True)
        for line in listed.stdout.splitlines():
            file, _, rest = line.partition(": ")
            name, kind = rest.split()[:2]
            if "8foretell" in name:  # of a mangled name in our namespace
                if kind in STRONG:
                    strong[name].append(file)
                elif kind in WEAK:
                    weak[name].append(file)
    found = [f"{name}: strong in {files[0]}, weak in {weak[name][0]}" for name, files in strong.items() if name in weak]
    return found + [f"{name}: strong in {' and '.join(files)}" for name, files in strong.items() if len(files) > 1]


def planted() -> None:
    """One class with a destructor in its .cpp, another one of the same name without."""
    compiler = shutil.which("c++") or shutil.which("g++")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "a.cpp").write_text("namespace foretell { struct A { ~A(); }; A::~A() {} }\n")
        (folder / "b.cpp").write_text("namespace foretell { struct A { ~A() {} }; void f() { A a; } }\n")
        for stem in "ab":
            subprocess.run([compiler, "-O0", "-c", folder / f"{stem}.cpp", "-o", folder / f"{stem}.o"], check=True)
        found = clashes([folder / "a.o", folder / "b.o"])
        check(any("strong in" in line and "weak in" in line for line in found), f"two classes of one name are found: {found[:1]}")


def main() -> None:
    if not shutil.which("nm"):
        print("SKIPPED symbols: nm is not installed")
        sys.exit(77)
    planted()
    files = objects(pathlib.Path(os.environ["FORETELL_BIN"]).resolve().parent)
    check(len(files) > 50, f"{len(files)} object files are looked at")
    found = clashes(files)
    for line in found[:20]:
        print("       ", line)
    check(not found, "no symbol of ours has two definitions")
    finish()


main()
