#!/usr/bin/env python3
"""Who may include whom: the table of docs/design/architecture.md, checked against every #include line of the project.

With no argument it first plants violations in a temporary tree and expects each to be reported, then checks the project itself. The rules are the
constants below; there is no other place that repeats them.
"""

import pathlib
import re
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = ("framework", "drafters", "verifiers", "policies", "experiments", "tests")

# What a folder may include beside itself, as prefixes of paths from the project's root. The longest matching folder decides.
MODEL_INTERFACES = ("framework/model/language_model.h", "framework/model/kv_cache.h", "framework/model/layers.h",
                    "framework/api/hidden.h", "framework/formats/model_config.h", "framework/model/exit_policy.h", "framework/model/router.h",
                    "framework/api/attention_policy.h")
FRAMEWORK_FOR_STRATEGIES = ("framework/base/", "framework/text/", "framework/sampling/", "framework/model/", "framework/decode/",
                            "framework/cost/", "framework/planning/")
EVERYTHING = ("framework/", "drafters/", "verifiers/", "policies/", "experiments/", "tests/support/")
MAY_INCLUDE = {
    "framework/base": (),
    "framework/text": ("framework/base/",),
    "framework/sampling": ("framework/base/",),
    "framework/model": ("framework/base/", "framework/sampling/", "framework/model/files/"),
    "framework/model/files": ("framework/base/",),
    "framework/decode": ("framework/base/", "framework/sampling/", *MODEL_INTERFACES),
    "framework/metrics": ("framework/base/", "framework/api/round.h"),
    "framework/cost": ("framework/base/", "framework/api/round.h"),
    "framework/planning": ("framework/base/", "framework/sampling/", "framework/decode/", "framework/cost/"),
    "framework/train": ("framework/base/", "framework/text/", "framework/sampling/", "framework/model/", "framework/decode/"),
    "framework/plugin": ("framework/base/", "framework/decode/"),
    "drafters": FRAMEWORK_FOR_STRATEGIES,
    "verifiers": FRAMEWORK_FOR_STRATEGIES,
    "policies": FRAMEWORK_FOR_STRATEGIES,
    "experiments": ("framework/", "drafters/", "verifiers/", "policies/"),
    "tests": EVERYTHING,
}
# One strategy is one file: it may include a header of its own name, and no other strategy's.
STRATEGIES = ("drafters/", "verifiers/", "policies/")

# Files that must not reach LibTorch, not even through our own headers.
TORCH_FREE = ("framework/base/", "framework/text/", "framework/sampling/", "framework/metrics/", "framework/cost/", "framework/plugin/",
              "framework/model/files/", "framework/planning/", "verifiers/", "policies/", "drafters/")
# The drafters that run a model.
TORCH_DRAFTERS = ("drafters/model.", "drafters/universal.", "drafters/cascade.", "drafters/sparse_cache.",
                  "drafters/quantised_self.")
# The headers of the loop are LibTorch-free too (their .cpp files need not be), but for those that hand out hidden states or wrap a model.
TORCH_FREE_HEADERS = ("framework/decode/",)
TORCH_HEADERS_OF_DECODE = ("framework/decode/model_", "framework/decoding/host_logits.h", "framework/decoding/target_view.h")

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)
# Headers that the build writes.
GENERATED = ("foretell_git_revision.h", "foretell_interfaces.h")
TORCH = re.compile(r"^(ATen|torch|c10|caffe2)/|^framework/pch\.h$")


class Tree:
    """The project's source files and what each includes, by path from the root."""

    def __init__(self, root: pathlib.Path) -> None:
        self.includes: dict[str, list[tuple[int, str, str]]] = {}
        for folder in FOLDERS:
            for path in sorted((root / folder).rglob("*")):
                if path.suffix in (".h", ".cpp"):
                    text = path.read_text(encoding="utf-8")
                    self.includes[path.relative_to(root).as_posix()] = [
                        (text.count("\n", 0, match.start(1)) + 1, match.group(1), match.group(2)) for match in INCLUDE.finditer(text)]

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


def folder_of(file: str) -> str:
    """The folder of MAY_INCLUDE that `file` belongs to."""
    return max((folder for folder in MAY_INCLUDE if file.startswith(folder + "/")), key=len, default="")


def violations(tree: Tree) -> list[str]:
    found = []
    for file, includes in tree.includes.items():
        if file == "framework/pch.h":
            continue
        folder = folder_of(file)
        if not folder:
            found.append(f"{file}: no rule says what this folder may include; add it to MAY_INCLUDE and docs/design/architecture.md")
            continue
        for line, bracket, name in includes:
            where = f"{file}:{line}"
            ours = name.split("/")[0] in FOLDERS
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
            elif folder_of(name) != folder and not name.startswith(MAY_INCLUDE[folder]):
                allowed = ", ".join(MAY_INCLUDE[folder]) or "nothing else of ours"
                found.append(f"{where}: {folder} may not include {name}; it may include {allowed}")
        torch_free = (file.startswith(TORCH_FREE) and not file.startswith(TORCH_DRAFTERS)) or (
            file.startswith(TORCH_FREE_HEADERS) and file.endswith(".h") and not file.startswith(TORCH_HEADERS_OF_DECODE))
        if torch_free:
            way = tree.way_to_torch(file)
            if way:
                found.append(f"{file}: must not reach LibTorch, but does: {' -> '.join(way)}")
    return found


# File, its text, and a piece of the report that is expected.
PLANTED = [
    ("framework/base/a.h", '#include "framework/text/b.h"\n', "framework/base may not include framework/text/b.h"),
    ("framework/text/b.h", '#include "framework/sampling/c.h"\n', "framework/text may not include framework/sampling/c.h"),
    ("framework/sampling/c.h", "#include <ATen/ATen.h>\n", "framework/sampling/c.h: must not reach LibTorch"),
    ("framework/model/d.h", '#include <torch/types.h>\n#include "framework/api/round.h"\n', "framework/model may not include framework/decode"),
    ("framework/model/files/e.h", '#include "framework/model/d.h"\n', "framework/model/files may not include framework/model/d.h"),
    ("framework/api/round.h", '#include "framework/model/layers.h"\n', "framework/api/round.h: must not reach LibTorch"),
    ("framework/model/layers.h", "#include <c10/core/Device.h>\n", ""),
    ("framework/decode/f.cpp", '#include "framework/model/d.h"\n', "framework/decode may not include framework/model/d.h"),
    ("framework/decode/g.cpp", '#include "drafters/i.h"\n', "framework/decode may not include drafters/i.h"),
    ("framework/plugin/r.cpp", "#include <ATen/ATen.h>\n", "framework/plugin/r.cpp: must not reach LibTorch"),
    ("framework/metrics/h.cpp", '#include "framework/decode/loop.h"\n', "framework/metrics may not include framework/decode/loop.h"),
    ("framework/decode/loop.h", "#include <vector>\n", ""),
    ("drafters/i.h", '#include "framework/train/j.h"\n', "drafters may not include framework/train/j.h"),
    ("framework/train/j.h", "", ""),
    ("drafters/i.cpp", '#include "drafters/i.h"\n', ""),
    ("drafters/k.cpp", '#include "drafters/i.h"\n', "drafters/k.cpp:1: a strategy does not include another one"),
    ("policies/length/l.cpp", '#include "framework/api/round.h"\n', "policies/length/l.cpp: must not reach LibTorch"),
    ("policies/tree/m.cpp", '#include "verifiers/n.h"\n', "policies/tree/m.cpp:1: a strategy does not include another one"),
    ("verifiers/n.h", '#include <framework/base/a.h>\n', 'is included as "framework/base/a.h"'),
    ("verifiers/o.cpp", '#include "n.h"\n', "is no path from the project's root"),
    ("experiments/p.cpp", '#include "framework/base/gone.h"\n', "framework/base/gone.h does not exist"),
    ("framework/new/q.h", "", "no rule says what this folder may include"),
]


def self_test() -> list[str]:
    """What the check should have said about a tree full of violations and did not, or said about a file that has none."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for file, text, _ in PLANTED:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(text, encoding="utf-8")
        found = violations(Tree(root))
    missed = [f"planted in {file} and not reported: {expected}" for file, _, expected in PLANTED
              if expected and not any(line.startswith(file) and expected in line for line in found)]
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
