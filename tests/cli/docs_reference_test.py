#!/usr/bin/env python3
"""`make docs` builds the API reference, and refuses a declaration of a public header that has no contract.

Skipped without doxygen.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77


def build(root: pathlib.Path) -> subprocess.CompletedProcess:
    return subprocess.run([root / "docs/build_reference.sh", "out"], capture_output=True, text=True, check=False)


def copy_of_docs(to: pathlib.Path) -> None:
    """What the reference is made of, and nothing else."""
    for folder in ("docs", "results/reference"):
        shutil.copytree(ROOT / folder, to / folder)
    (to / "cmake").mkdir()
    shutil.copy(ROOT / "cmake/Interfaces.cmake", to / "cmake")
    for page in ROOT.glob("*.md"):
        shutil.copy(page, to)
    listed = (ROOT / "cmake/Interfaces.cmake").read_text(encoding="utf-8")
    for header in set(re.findall(r"framework/[\w/]+\.h", listed)):
        if (ROOT / header).exists():
            (to / header).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / header, to / header)


def problems() -> list[str]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        copy_of_docs(root)
        done = build(root)
        if done.returncode != 0:
            return ["the reference is not built: " + done.stderr]
        page = root / "out/docs/html/classforetell_1_1Verifier.html"
        text = page.read_text(encoding="utf-8") if page.exists() else ""
        for words in ("Verifies one draft", "A lossless verifier emits"):  # of verify(), and of the header
            if words not in text:
                found.append(f"the page of Verifier does not have the contract: {words}")
        header = root / "framework/api/verifier.h"
        text = header.read_text(encoding="utf-8")
        start = "class Verifier : public Strategy {\n public:\n"
        header.write_text(text.replace(start, start + "  int undocumented() const;\n"), encoding="utf-8")
        line = header.read_text(encoding="utf-8").split("undocumented")[0].count("\n") + 1
        done = build(root)
        if done.returncode != 1 or f"framework/api/verifier.h:{line}: " not in done.stderr:
            found.append(f"a declaration without a contract passes: exit code {done.returncode}, {done.stderr}")
    return found


def main() -> int:
    if not shutil.which("doxygen"):
        print("SKIPPED docs_reference: doxygen is not installed")
        return SKIPPED
    found = problems()
    for problem in found:
        print(problem)
    print(f"docs reference: {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
