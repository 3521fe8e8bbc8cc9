#!/usr/bin/env python3
"""What the documentation points at exists.

Checked are, in every *.md of the tree: relative links, the headings that they name, and paths in code that begin with a
folder of the tree (`tests/cli/support.py`, `configs/*.yaml`); in every text file: mentions of a page below docs/. With
planted faults first, as layering_test.py has them. The architecture page names every room, in the order of
layering_test.py.
"""

import itertools
import os
import pathlib
import re
import sys
import tempfile

import layering_test

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Folders that hold what a user made: builds, and the results of runs but for the kept ones.
MADE = re.compile(r"^(build|build-[^/]*|results/(?!reference(/|$))[^/]+|.*/?__pycache__)$")
TEXT = {".md", ".h", ".cpp", ".in", ".py", ".sh", ".yaml", ".yml", ".cmake", ".txt", ".cff", ".json", ""}
ROOMS = re.compile(r"(framework/.+|drafters|verifiers|policies/.+|experiments/.+)$")
ARCHITECTURE = "docs/design/architecture.md"
ORDER = re.compile(r"^\| from low to high \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", re.MULTILINE)
LARGEST = 1 << 20  # bytes; larger files are data

LINK = re.compile(r"!?\[[^\]\n]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^\s*```.*?^\s*```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
PAGE = re.compile(r"(?<![\w./-])docs/[\w/-]+\.md\b")
PATH = re.compile(r"(?<![\w./$~<>{}-])([\w.-]+(?:/[\w.*-]+)+/?)(?![\w<>{}$*])")
# In blocks of commands, only files of these kinds: folders there are often what the commands make.
KIND_IN_BLOCKS = (".yaml", ".py", ".h", ".md")


class Tree:
    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.files: list[str] = []
        for folder, folders, files in os.walk(root):
            here = pathlib.Path(folder).relative_to(root).as_posix()
            inside = "" if here == "." else here + "/"
            folders[:] = sorted(name for name in folders
                                if not MADE.match(inside + name)
                                and (not name.startswith(".") or inside + name == ".ci"))
            self.files += [inside + name for name in sorted(files)]
        self.top = {file.split("/")[0] for file in self.files if "/" in file}
        self.anchors: dict[str, set[str]] = {}

    def text(self, file: str) -> str:
        return (self.root / file).read_text(encoding="utf-8", errors="replace")

    def has(self, path: str) -> bool:
        if "*" in path:
            return any(self.root.glob(path.rstrip("/")))
        return (self.root / path).exists()

    def headings(self, page: str) -> set[str]:
        """The anchors that the usual hosts of repositories give to the headings of a page."""
        if page not in self.anchors:
            titles = HEADING.findall(blank(FENCE, self.text(page)))
            self.anchors[page] = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
        return self.anchors[page]


def blank(pattern: re.Pattern, text: str) -> str:
    """`text` with what matches replaced by its line ends, so that lines keep their numbers."""
    return pattern.sub(lambda match: "\n" * match.group().count("\n"), text)


def broken_link(tree: Tree, file: str, target: str) -> str | None:
    if re.match(r"[a-z]+:", target):
        return None
    path, _, anchor = target.partition("#")
    page = os.path.normpath(os.path.join(os.path.dirname(file), path)) if path else file
    if page.startswith("..") or path.startswith("/"):
        return f"the link {target} leads out of the tree"
    if not tree.has(page):
        return f"the link {target} leads to {page}, which does not exist"
    if anchor and page.endswith(".md") and anchor not in tree.headings(page):
        return f"the link {target} names a heading that {page} does not have"
    return None


def paths_in(tree: Tree, code: str, block: bool) -> list[tuple[int, str]]:
    """Paths of the tree in a piece of code, each with its place there."""
    found = []
    for match in PATH.finditer(code):
        path = match.group(1).rstrip(".")
        top, below = path.split("/")[:2]
        if top in tree.top and not MADE.match(f"{top}/{below}") and (not block or path.endswith(KIND_IN_BLOCKS)):
            found.append((match.start(), path))
    return found


def line_of(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def problems_of_page(tree: Tree, file: str) -> list[str]:
    text = tree.text(file)
    prose = blank(FENCE, text)
    outside = blank(CODE, prose)
    found = []
    for match in LINK.finditer(outside):
        problem = broken_link(tree, file, match.group(1))
        if problem:
            found.append((line_of(outside, match.start()), problem))
    for source, pattern in ((prose, CODE), (text, FENCE)):
        for code in pattern.finditer(source):
            found += [(line_of(source, code.start() + at), f"{path} does not exist")
                      for at, path in paths_in(tree, code.group(), pattern is FENCE) if not tree.has(path)]
    return [f"{file}:{number}: {problem}" for number, problem in sorted(found)]


def problems_of(tree: Tree) -> list[str]:
    found = []
    for file in tree.files:
        path = tree.root / file
        if path.suffix == ".md":
            found += problems_of_page(tree, file)
        elif path.suffix in TEXT and path.stat().st_size <= LARGEST and path.name != pathlib.Path(__file__).name:
            text = tree.text(file)
            found += [f"{file}:{line_of(text, match.start())}: {match.group()} does not exist"
                      for match in PAGE.finditer(text) if not tree.has(match.group())]
    return found


def problems_of_architecture(tree: Tree, order: list[str]) -> list[str]:
    """Rooms that the architecture page does not name, and the order of rooms in its table where it is not `order`."""
    text = tree.text(ARCHITECTURE)
    rooms = sorted({file.rsplit("/", 1)[0] for file in tree.files if file.endswith((".h", ".cpp")) and "/" in file})
    found = [f"{ARCHITECTURE}: does not name the room {room}" for room in rooms
             if ROOMS.match(room) and f"`{room}`" not in text]
    table = ORDER.search(text)
    if not table:
        return [*found, f"{ARCHITECTURE}: has no table of the order of rooms"]
    told = [name.strip() for row in table.group(1).splitlines() for name in row.strip("| ").split("|")[1].split(",")]
    short = [re.sub("^(framework|experiments)/", "", room) for room in order]
    for here, there in itertools.zip_longest(told, short):
        if here != there:
            return [*found, f"{ARCHITECTURE}: in the order of rooms {here} stands where layering_test.py has {there}"]
    return found


# File, its text, and a piece of the report that is expected of it; an empty piece: nothing may be reported.
PLANTED = [
    ("README.md", "[a](docs/guide/a.md) [b](docs/guide/a.md#two-words) [c](https://example.org/x.md)\n", ""),
    ("CHANGELOG.md", "`framework/a.h`, `configs/*.yaml`\n", ""),
    ("docs/guide/a.md", "# A\n\n## Two words\n\n[up](../../README.md), [here](#a); `build/foretell`\n", ""),
    ("docs/guide/made.md", "`results/mine/x.json`, `2/3`\n", ""),
    ("docs/guide/fenced.md", "```sh\nforetell run configs/a.yaml --out models/new\n```\n\n`[x](gone.md)`\n", ""),
    ("framework/a.h", "// docs/guide/a.md says why.\n", ""),
    ("models/a.txt", "", ""),
    ("configs/a.yaml", "# docs/guide/a.md\n", ""),
    ("build/made.md", "[x](gone.md)\n", ""),
    ("docs/guide/b.md", "one\n\n[x](gone.md)\n", "docs/guide/b.md:3: the link gone.md leads to docs/guide/gone.md"),
    ("docs/guide/c.md", "[x](a.md#three-words)\n", "names a heading that docs/guide/a.md does not have"),
    ("docs/guide/d.md", "[x](../../../README.md)\n", "leads out of the tree"),
    ("docs/guide/e.md", "a\nof `framework/gone.h`, two\n", "docs/guide/e.md:2: framework/gone.h does not exist"),
    ("docs/guide/f.md", "`foretell run configs/gone.yaml`\n", "configs/gone.yaml does not exist"),
    ("docs/guide/g.md", "text\n\n```sh\nforetell run configs/gone.yaml\n```\n",
     "docs/guide/g.md:4: configs/gone.yaml does not exist"),
    ("docs/guide/h.md", "`configs/gone/*.yaml`\n", "configs/gone/*.yaml does not exist"),
    ("docs/guide/i.md", "`framework/gone/`\n", "framework/gone/ does not exist"),
    ("framework/b.cpp", "\n// as docs/GONE.md has it\n", "framework/b.cpp:2: docs/GONE.md does not exist"),
    ("configs/b.yaml", "# see docs/guide/gone.md\n", "docs/guide/gone.md does not exist"),
    ("cmake/a.cmake", "# docs/gone.md\n", "docs/gone.md does not exist"),
]


# The same for the architecture page beside the rooms framework/core and drafters, which are in this order.
ORDER_OF_PLANTED = ["framework/core", "drafters"]
TABLE = "`framework/core` `drafters`\n\n| from low to high | rooms |\n|---|---|\n| a | core |\n| b | drafters |\n"
PLANTED_PAGES = [
    (TABLE, ""),
    (TABLE.replace("`drafters`", ""), "does not name the room drafters"),
    (TABLE.replace("core |", "drafters |").replace("b | drafters", "b | core"), "drafters stands where layering_test"),
    (TABLE.replace("| b | drafters |\n", ""), "None stands where layering_test.py has drafters"),
    ("`framework/core` `drafters`\n", "has no table of the order of rooms"),
]


def self_test_of_architecture() -> list[str]:
    wrong = []
    for text, expected in PLANTED_PAGES:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for file, content in (("framework/core/a.h", ""), ("drafters/b.cpp", ""), (ARCHITECTURE, text)):
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_text(content, encoding="utf-8")
            found = problems_of_architecture(Tree(root), ORDER_OF_PLANTED)
        if bool(found) != bool(expected) or not all(expected in line for line in found):
            wrong.append(f"architecture page: expected '{expected}', found {found}")
    return wrong


def self_test() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for file, text, _ in PLANTED:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(text, encoding="utf-8")
        found = problems_of(Tree(root))
    missed = [f"planted in {file} and not reported: {expected}" for file, _, expected in PLANTED
              if expected and not any(line.startswith(file) and expected in line for line in found)]
    innocent = tuple(file + ":" for file, _, expected in PLANTED if not expected)
    return missed + [f"reported, but there is nothing wrong: {line}" for line in found if line.startswith(innocent)]


def main() -> int:
    tree = Tree(ROOT)
    problems = self_test() + self_test_of_architecture() + problems_of(tree)
    problems += problems_of_architecture(tree, layering_test.ORDER)
    for problem in problems:
        print(problem)
    print(f"docs links: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
