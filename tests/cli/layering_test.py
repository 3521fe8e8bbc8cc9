#!/usr/bin/env python3
"""Who may include whom: the rooms of docs/design/architecture.md, checked against every #include line of the project.

A room is a folder, a namespace and a CMake target. Checked are: what a room includes, that no two units (a header and its .cpp) include each other in a
circle, that a room without LibTorch does not reach it through our own headers, that a file's declarations are in its room's namespace, that a room
stays small, and that the public headers are what the interfaces reach. With no argument it first plants violations in a temporary tree and expects each
to be reported. The rules are the constants below and the sides in CMakeLists.txt; there is no other place that repeats them.
"""

import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOP = ("framework", "drafters", "verifiers", "policies", "experiments", "tests")
MOST_FILES = 35  # of one room, flat
MOST_PUBLIC = 25

# From low to high; a room includes none that stands behind it, and of those before it the named ones, or all.
ALL = ("*",)
ROOMS = {
    "framework/core": (),
    "framework/io": ("framework/core",),
    "framework/kernels": ("framework/core",),
    "framework/kernels/attention": ("framework/core", "framework/kernels"),
    "framework/kernels/training": ("framework/core", "framework/kernels"),
    "framework/formats": ("framework/core", "framework/io"),
    "framework/formats/heads": ("framework/core", "framework/io", "framework/formats"),
    "framework/sampling": ("framework/core",),
    "framework/api": ("framework/core", "framework/sampling"),
    "framework/exits": ("framework/core", "framework/io", "framework/formats", "framework/api"),
    "framework/unicode": ("framework/core",),
    "framework/cost": ("framework/core", "framework/io", "framework/api"),
    "framework/cost/operators": ("framework/core", "framework/formats", "framework/cost"),
    "framework/moe": ("framework/core", "framework/io", "framework/api", "framework/cost"),
    "framework/metrics": ("framework/core", "framework/api"),
    "framework/tokenizers/stages": ("framework/core", "framework/io", "framework/unicode"),
    "framework/tokenizers/models": ("framework/core", "framework/io", "framework/unicode", "framework/tokenizers/stages"),
    "framework/tokenizers": ("framework/core", "framework/io", "framework/unicode", "framework/tokenizers/stages", "framework/tokenizers/models"),
    "framework/chat": ("framework/core", "framework/io", "framework/unicode", "framework/tokenizers"),
    "framework/datasets": ("framework/core", "framework/io", "framework/unicode", "framework/tokenizers"),
    "framework/model": ("framework/core", "framework/io", "framework/kernels", "framework/kernels/attention", "framework/formats", "framework/api"),
    "framework/model/heads": ("framework/core", "framework/io", "framework/formats", "framework/formats/heads", "framework/model"),
    "framework/decoding": ("framework/core", "framework/sampling", "framework/api", "framework/exits", "framework/model", "framework/model/heads"),
    "framework/replay": ("framework/core", "framework/sampling", "framework/api"),
    "framework/decoding/bases": ("framework/core", "framework/api", "framework/exits", "framework/cost", "framework/model", "framework/model/heads",
                                 "framework/decoding"),
    "framework/decoding/heads": ("framework/core", "framework/api", "framework/model", "framework/model/heads", "framework/decoding",
                                 "framework/decoding/bases"),
    "framework/measurement": ("framework/core", "framework/io", "framework/kernels", "framework/api", "framework/cost",
                              "framework/cost/operators", "framework/metrics", "framework/datasets", "framework/model", "framework/decoding", "framework/replay"),
    "framework/training/autograd": ("framework/core", "framework/api", "framework/kernels", "framework/kernels/attention", "framework/kernels/training",
                                    "framework/formats", "framework/model"),
    "framework/training": ALL,
    "framework/training/learners": ALL,
    "framework/training/learners/exits": ALL,
    "framework/plugin": ("framework/core", "framework/api"),
    "drafters": ("framework/core", "framework/io", "framework/sampling", "framework/api", "framework/exits", "framework/tokenizers", "framework/datasets", "framework/model/heads",
                 "framework/decoding", "framework/decoding/bases", "framework/decoding/heads"),
    "drafters/heads": ("framework/core", "framework/io", "framework/api", "framework/model", "framework/model/heads", "framework/decoding", "framework/decoding/bases",
                       "framework/decoding/heads"),
    "verifiers": ("framework/core", "framework/sampling", "framework/api", "framework/decoding/bases"),
    "policies/length": ("framework/core", "framework/formats", "framework/api", "framework/decoding/bases"),
    "policies/tree": ("framework/core", "framework/api", "framework/decoding/bases"),
    "policies/attention": ("framework/core", "framework/api"),
    "policies/routing": ("framework/core", "framework/api"),
    "policies/exit": ("framework/core", "framework/api", "framework/exits"),
    "experiments/util": ALL,
    "experiments/study": ALL,
    "experiments/results": ALL,
    "experiments/workload": ALL,
    "experiments/cell": ALL,
    "experiments/analysis": ALL,
    "experiments/runner": ALL,
    "experiments/report": ALL,
    "experiments/tables": ALL,
    "experiments/certify": ALL,
    "experiments/cli/commands/estimate": ALL,
    "experiments/cli/commands/inspect": ALL,
    "experiments/cli/commands/prepare": ALL,
    "experiments/cli/commands/models": ALL,
    "experiments/cli/commands/studies": ALL,
    "experiments/cli/commands/bench": ALL,
    "experiments/cli/commands/strategies": ALL,
    "experiments/cli": ALL,
}
ORDER = list(ROOMS)
# One strategy is one file: it may include a header of its own name, and no other strategy's.
STRATEGIES = ("drafters/", "verifiers/", "policies/")
# What a plug-in writes is `foretell` itself.
ROOT_NAMESPACE = ("framework/core", "framework/sampling", "framework/api")

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)
NAMESPACE = re.compile(r"^namespace (foretell[\w:]*) \{\n(.*?)^\}  // namespace \1$", re.MULTILINE | re.DOTALL)
# Headers that the build writes.
GENERATED = ("foretell_git_revision.h", "foretell_interfaces.h")
PRECOMPILED = ("framework/pch.h", "framework/plain_pch.h")
TORCH = re.compile(r"^(ATen|torch|c10|caffe2)/|^framework/pch\.h$")


class Tree:
    """The project's source files and what each includes, by path from the root."""

    def __init__(self, root: pathlib.Path) -> None:
        self.includes: dict[str, list[tuple[int, str, str]]] = {}
        self.texts: dict[str, str] = {}
        for folder in TOP:
            for path in sorted((root / folder).rglob("*")):
                if path.suffix in (".h", ".cpp"):
                    text = path.read_text(encoding="utf-8")
                    name = path.relative_to(root).as_posix()
                    self.texts[name] = text
                    self.includes[name] = [(text.count("\n", 0, match.start(1)) + 1, match.group(1), match.group(2))
                                           for match in INCLUDE.finditer(text)]
        cmake = root / "CMakeLists.txt"
        self.free = free_rooms(cmake.read_text(encoding="utf-8")) if cmake.exists() else set()
        interfaces = root / "cmake/Interfaces.cmake"
        self.public = set(re.findall(r"framework/[\w/]+\.h", interfaces.read_text(encoding="utf-8"))) if interfaces.exists() else set()

    def reach(self, start: list[str]) -> set[str]:
        """Our own files that `start` includes, directly or not, and themselves."""
        seen: set[str] = set()
        ways = list(start)
        while ways:
            file = ways.pop()
            if file not in seen and file in self.includes:
                seen.add(file)
                ways += [name for _, _, name in self.includes[file]]
        return seen

    def way_to_torch(self, file: str) -> list[str] | None:
        """The chain of includes from `file` to a LibTorch header, or None."""
        seen = {file}
        ways = [[file]]
        while ways:
            way = ways.pop(0)
            for _, _, name in self.includes.get(way[-1], []):
                if TORCH.search(name):
                    return [*way, name]
                if name in self.includes and name not in seen:
                    seen.add(name)
                    ways.append([*way, name])
        return None


def free_rooms(cmake: str) -> set[str]:
    """The rooms and strategy folders that CMakeLists.txt compiles without LibTorch."""
    free = set()
    for items, call in re.findall(r"foreach\(room IN ITEMS ([^)]*)\)\s*foretell_room\(([^)]*)\)", cmake):
        if " free " in call + " ":
            free |= {call.split()[0].replace("${room}", room) for room in items.split()}
    free |= set(re.findall(r"foretell_room\(([\w/]+) free ", cmake))
    return free | set(re.findall(r"foretell_strategies\(\w+ ([\w/]+) model_free\)", cmake))


def room_of(file: str) -> str:
    folder = file.rsplit("/", 1)[0]
    return "tests" if folder.startswith("tests/") else folder


def namespace_of(room: str) -> str:
    if room in ROOT_NAMESPACE:
        return "foretell"
    parts = room.split("/")
    if parts[0] in ("framework", "experiments"):
        parts = parts[1:]
    return "foretell::" + "::".join(parts[-1:] if parts[-1] in ("bases", "autograd") else parts)


def allowed(room: str) -> list[str]:
    if room == "tests":
        return [*ORDER, "tests"]
    below = ORDER[:ORDER.index(room)]
    return below if ROOMS[room] == ALL else list(ROOMS[room])


def include_problems(tree: Tree) -> list[str]:
    found = []
    for file, includes in tree.includes.items():
        if file in PRECOMPILED:
            continue
        room = room_of(file)
        if room != "tests" and room not in ROOMS:
            found.append(f"{file}: no rule says what this folder may include; add it to ROOMS and docs/design/architecture.md")
            continue
        for line, bracket, name in includes:
            where = f"{file}:{line}"
            ours = name.split("/")[0] in TOP
            if ours and bracket == "<":
                found.append(f'{where}: our own {name} is included as "{name}"')
            if bracket == '"' and not ours and name not in GENERATED:
                found.append(f'{where}: "{name}" is no path from the project\'s root')
            if not ours:
                continue
            if name not in tree.includes:
                found.append(f"{where}: {name} does not exist")
            if name.startswith(STRATEGIES) and file.startswith(STRATEGIES):
                if pathlib.PurePosixPath(name).with_suffix("") != pathlib.PurePosixPath(file).with_suffix(""):
                    found.append(f"{where}: a strategy does not include another one ({name})")
            elif room_of(name) != room and name not in PRECOMPILED and room_of(name) not in allowed(room):
                found.append(f"{where}: {room} may not include {name}; it may include {', '.join(allowed(room)) or 'nothing else of ours'}")
        if room in tree.free:
            way = tree.way_to_torch(file)
            if way:
                found.append(f"{file}: must not reach LibTorch, but does: {' -> '.join(way)}")
    return found


def cycle_problems(tree: Tree) -> list[str]:
    """Units that include each other in a circle; a header and the .cpp of its name are one unit."""
    unit = lambda file: file.rsplit(".", 1)[0]
    graph: dict[str, set[str]] = {}
    for file, includes in tree.includes.items():
        if room_of(file) != "tests":
            graph.setdefault(unit(file), set()).update(unit(name) for _, _, name in includes if name in tree.includes and unit(name) != unit(file))
    found, done = [], set()

    def visit(node: str, way: list[str]) -> None:
        if node in way:
            found.append(f"{node}: includes itself in a circle: {' -> '.join([*way[way.index(node):], node])}")
        elif node not in done:
            for name in sorted(graph.get(node, ())):
                visit(name, [*way, node])
            done.add(node)

    for node in sorted(graph):
        visit(node, [])
    return found


def namespace_problems(tree: Tree) -> list[str]:
    """Another room's namespace holds forward declarations alone."""
    found = []
    for file, text in tree.texts.items():
        room = room_of(file)
        if room not in ROOMS or file in PRECOMPILED:
            continue
        own = namespace_of(room)
        for match in NAMESPACE.finditer(text):
            name = match.group(1)
            if name != own and not name.startswith(own + "::") and re.sub(r"\s|(class|struct|enum class) \w+;|//[^\n]*", "", match.group(2)):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{file}:{line}: the namespace of {room} is {own}, not {name}")
    return found


def size_problems(tree: Tree) -> list[str]:
    counts: dict[str, int] = {}
    for file in tree.includes:
        counts[room_of(file)] = counts.get(room_of(file), 0) + 1
    return [f"{room}: {count} files, at most {MOST_FILES} are to be found at a glance" for room, count in sorted(counts.items())
            if room != "tests" and count > MOST_FILES]


def public_problems(tree: Tree) -> list[str]:
    """The list in cmake/Interfaces.cmake is closed under #include, and short."""
    reached = tree.reach(sorted(tree.public))
    found = [f"cmake/Interfaces.cmake: {file} is reached by a public header and not listed" for file in sorted(reached - tree.public)]
    found += [f"cmake/Interfaces.cmake: {file} does not exist" for file in sorted(tree.public - set(tree.includes))]
    if len(tree.public) > MOST_PUBLIC:
        found.append(f"cmake/Interfaces.cmake: {len(tree.public)} public headers, at most {MOST_PUBLIC}")
    return found


def violations(tree: Tree) -> list[str]:
    return (include_problems(tree) + cycle_problems(tree) + namespace_problems(tree) + size_problems(tree) + public_problems(tree))


# File, its text, and a piece of the report that is expected.
PLANTED = [
    ("CMakeLists.txt", "foreach(room IN ITEMS core sampling unicode api metrics)\n  foretell_room(framework/${room} free 8)\nendforeach()\n"
     "foretell_room(framework/plugin free 8)\nforetell_strategies(x policies/length model_free)\n", ""),
    ("cmake/Interfaces.cmake", "set(interface_headers framework/api/round.h framework/api/gone.h)\n", "framework/api/gone.h does not exist"),
    ("framework/core/a.h", '#include "framework/unicode/b.h"\n', "framework/core may not include framework/unicode/b.h"),
    ("framework/unicode/b.h", '#include "framework/sampling/c.h"\n', "framework/unicode may not include framework/sampling/c.h"),
    ("framework/sampling/c.h", "#include <ATen/ATen.h>\n", "framework/sampling/c.h: must not reach LibTorch"),
    ("framework/model/d.h", '#include <torch/types.h>\n#include "framework/decoding/loop.h"\n', "framework/model may not include framework/decoding"),
    ("framework/formats/e.h", '#include "framework/model/d.h"\n', "framework/formats may not include framework/model/d.h"),
    ("framework/api/round.h", '#include "framework/core/layers.h"\n', "framework/api/round.h: must not reach LibTorch"),
    ("framework/core/layers.h", "#include <c10/core/Device.h>\n", "framework/core/layers.h: must not reach LibTorch"),
    ("framework/decoding/g.cpp", '#include "drafters/i.h"\n', "framework/decoding may not include drafters/i.h"),
    ("framework/plugin/r.cpp", "#include <ATen/ATen.h>\n", "framework/plugin/r.cpp: must not reach LibTorch"),
    ("framework/metrics/h.cpp", '#include "framework/decoding/loop.h"\n', "framework/metrics may not include framework/decoding/loop.h"),
    ("framework/decoding/loop.h", "#include <vector>\n", ""),
    ("framework/io/s.h", '#include "framework/io/t.h"\n', "framework/io/s: includes itself in a circle"),
    ("framework/io/t.h", "", ""),
    ("framework/io/t.cpp", '#include "framework/io/s.h"\n', ""),
    ("framework/io/u.h", "namespace foretell {\nvoid f();\n}  // namespace foretell\n", "the namespace of framework/io is foretell::io, not foretell"),
    ("framework/io/v.h", "namespace foretell {\nclass Rng;\n}  // namespace foretell\nnamespace foretell::io {\nvoid f();\n}  // namespace foretell::io\n", ""),
    ("drafters/i.h", '#include "framework/training/j.h"\n', "drafters may not include framework/training/j.h"),
    ("framework/training/j.h", "", ""),
    ("drafters/i.cpp", '#include "drafters/i.h"\n', ""),
    ("drafters/k.cpp", '#include "drafters/i.h"\n', "drafters/k.cpp:1: a strategy does not include another one"),
    ("policies/length/l.cpp", '#include "framework/api/round.h"\n', "policies/length/l.cpp: must not reach LibTorch"),
    ("policies/tree/m.cpp", '#include "verifiers/n.h"\n', "policies/tree/m.cpp:1: a strategy does not include another one"),
    ("verifiers/n.h", "#include <framework/core/a.h>\n", 'is included as "framework/core/a.h"'),
    ("verifiers/o.cpp", '#include "n.h"\n', "is no path from the project's root"),
    ("experiments/study/p.cpp", '#include "framework/core/gone.h"\n', "framework/core/gone.h does not exist"),
    ("experiments/study/w.cpp", '#include "experiments/runner/x.h"\n', "experiments/study may not include experiments/runner/x.h"),
    ("experiments/runner/x.h", '#include "experiments/study/y.h"\n', ""),
    ("experiments/study/y.h", "", ""),
    ("framework/new/q.h", "", "no rule says what this folder may include"),
    *((f"framework/chat/f{number}.h", "", "") for number in range(MOST_FILES)),
    ("framework/chat/last.h", "", ""),
    ("framework/chat", None, f"framework/chat: {MOST_FILES + 1} files"),
    ("cmake/Interfaces.cmake", None, "framework/core/layers.h is reached by a public header and not listed"),
]


def self_test() -> list[str]:
    """What the check should have said about a tree full of violations and did not, or said about a file that has none."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for file, text, _ in PLANTED:
            if text is not None:
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_text(text, encoding="utf-8")
        found = violations(Tree(root))
    missed = [f"planted in {file} and not reported: {expected}" for file, _, expected in PLANTED
              if expected and not any(line.startswith(file.rsplit(".", 1)[0]) and expected in line for line in found)]
    innocent = [file for file, _, expected in PLANTED if not expected]
    wrong = [f"reported, but there is nothing wrong: {line}" for line in found if line.startswith(tuple(file + ":" for file in innocent))]
    return missed + wrong


def main() -> int:
    problems = self_test() + violations(Tree(ROOT))
    for problem in problems:
        print(problem)
    print(f"layering: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
