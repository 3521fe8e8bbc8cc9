"""Plug-ins from the first command to the last: install, `foretell new`, build out of tree, list, run, certify; and whatever can be wrong with one."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import support
from support import *

KINDS = ("drafter", "verifier", "policy", "tree", "attention", "router", "exit")
NAMES = {kind: f"my_{kind}" for kind in KINDS}
STUDY = """study: plugged
plugins: [%(plugins)s]
model: {target: %(model)s}
pipeline: {drafter: {type: my_drafter, num_speculative_tokens: 3}, verifier: {type: my_verifier}, policy: {type: my_policy, depth: 2}}
workload: {type: random_ids, count: 2, length: 16, max_new_tokens: 16, ignore_eos: true}
"""
# Libraries beside those that `foretell new` wrote.
EXTRA = {
    "nothing": "int nothing() { return 0; }\n",
    "unresolved": "int defined_nowhere();\nint asks = defined_nowhere();\n",
    "thrower": """#include "framework/api/verifier.h"
namespace {
struct Thrower final : foretell::Verifier {
  using Options = foretell::NoOptions;
  Thrower(const Options&, const foretell::BuildContext&) {}
  foretell::Verdict verify(const foretell::DraftTree&, foretell::Scores&, foretell::Rng&) const override { foretell::fail("it judges nothing"); }
};
FORETELL_REGISTER(foretell::Verifier, Thrower, "my_throws", {.summary = "ends in an error"});
}
""",
}


def prefix_of(folder):
    prefix = os.path.join(folder, "prefix")
    done = subprocess.run(["cmake", "--install", os.path.dirname(os.path.abspath(BIN)), "--prefix", prefix], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"cmake --install: {done.stderr}")
    return prefix


def write_project(folder):
    """One project for all plug-ins, so that the compiler is looked for once; not optimised, because they run for a moment only."""
    lines = ["cmake_minimum_required(VERSION 3.25)", "project(all CXX)", "set(CMAKE_BUILD_TYPE Debug)",
             'set(CMAKE_CXX_FLAGS_DEBUG "-O0 -Wall -Wextra -Werror")', *(f"add_subdirectory({name})" for name in NAMES.values()),
             "find_package(Foretell REQUIRED)"]
    for library in EXTRA:
        lines += [f"add_library({library} MODULE {library}.cpp)", f"target_link_libraries({library} PRIVATE Foretell::framework)"]
    with open(os.path.join(folder, "CMakeLists.txt"), "w") as file:
        file.write("\n".join(lines) + "\n")
    for source, text in EXTRA.items():
        with open(os.path.join(folder, source + ".cpp"), "w") as file:
            file.write(text)


def build(folder):
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    out = os.path.join(folder, "build")
    for command in (["cmake", "-S", folder, "-B", out, *generator], ["cmake", "--build", out, "--parallel", "2"]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.stdout} {done.stderr}")
    libraries = {kind: os.path.join(out, name, f"lib{name}.so") for kind, name in NAMES.items()}
    for name in EXTRA:
        libraries[name] = os.path.join(out, f"lib{name}.so")
    return libraries


def refused(what, words, *arguments):
    done = run(*arguments)
    lines = done.stderr.rstrip("\n").split("\n")
    fits = done.returncode == 2 and len(lines) == 1 and lines[0].startswith("foretell: ") and all(word in lines[0] for word in words)
    check(fits, f"{what}: {done.stderr.strip()[:300]}" + ("" if fits else f" [exit {done.returncode}, expected {words}]"))


def main(folder):
    prefix = prefix_of(folder)
    support.BIN = os.path.join(prefix, "bin", "foretell")
    model = make_random(folder)
    project = os.path.join(folder, "plugins")
    os.mkdir(project)

    def installed_headers_are_whole():
        include = pathlib.Path(prefix, "include", "foretell")
        missing = [f"{header}: {name}" for header in include.rglob("*.h")
                   for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', header.read_text(), re.MULTILINE) if not (include / name).is_file()]
        check((include / "framework/api/drafter.h").is_file() and not missing, f"install: headers include only installed ones {missing[:3]}")
        check(not (include / "framework/train").exists(), "install: nothing that strategies may not include")

    def new_writes_a_folder():
        for kind, name in NAMES.items():
            out = run_ok("new", kind, name, "--dir", os.path.join(project, name))
            check(name in out and sorted(os.listdir(os.path.join(project, name))) == ["CMakeLists.txt", "README.md", name + ".cpp"], f"new {kind}")
            text = "".join(open(os.path.join(project, name, file)).read() for file in os.listdir(os.path.join(project, name)))
            check("%" not in text, f"new {kind}: every placeholder is filled")
        readme = open(os.path.join(project, "my_drafter", "README.md")).read()
        check(all(word in readme for word in ("cmake -B build", "list drafters", "--drafter my_drafter", "certify")), "new: README has the commands")

    def new_checks_names():
        refused("new: no kind", ["drafer", "drafter"], "new", "drafer", "mine")
        for name in ("9lives", "my-drafter", "a b", "../up", "", "all", "null", "True", "none", "class", "co_await", "Namespace", "std", "a__b", "a_"):
            refused(f"new: the name {name!r}", ["cannot name a strategy"], "new", "drafter", name, "--dir", os.path.join(folder, "never"))
        refused("new: a name that is taken", ["drafter 'prompt_lookup'", "drafters/prompt_lookup.cpp:"], "new", "drafter", "prompt_lookup")
        refused("new: an attention policy that is taken", ["'streaming'", "policies/attention/streaming.cpp:"], "new", "attention", "streaming")
        refused("new: an exit policy that is taken", ["'margin'", "policies/exit/margin.cpp:"], "new", "exit", "margin")
        refused("new: a folder that is not empty", ["is not empty"], "new", "drafter", "mine", "--dir", project)
        refused("new: a file in the way", ["is no folder"], "new", "drafter", "mine", "--dir", os.path.join(folder, "tiny.json"))
        check(not os.path.exists(os.path.join(folder, "never")), "new: a refused name leaves nothing behind")

    for test in (installed_headers_are_whole, new_writes_a_folder, new_checks_names):
        case(test)
    write_project(project)
    libraries = build(project)
    plugins = [part for kind in KINDS for part in ("--plugin", libraries[kind])]
    generate = ("generate", "--model", model, "--ids", "5 6 7 5 6 7 5 6", "--max-new-tokens", 30, "--ignore-eos", "--json")
    plain = run_json(*generate)

    def lists():
        entries = {(entry["kind"], entry["name"]): entry for entry in json.loads(run_ok("list", "--json", *plugins))}
        check(all(entries[kind, name]["plugin"] == f"lib{name}.so" for kind, name in NAMES.items()), "list --plugin: which file a strategy is from")
        check(entries["drafter", "prompt_lookup"]["plugin"] is None and entries["verifier", "my_verifier"]["lossless"], "list --plugin: the others")
        check("plug-in libmy_drafter.so" in run_ok("list", "drafters", *plugins) and "my_drafter" not in run_ok("list"), "list: as text")
        check("my_drafter" in run_ok("list", "drafters", *plugins, *plugins), "list --plugin: a file that is named twice is loaded once")

    def generates():
        drafted = run_json(*generate, *plugins, "--drafter", "my_drafter", "--verifier", "my_verifier", "--set", "policy.type=my_policy")
        check(drafted["token_ids"] == plain["token_ids"] and drafted["rounds"] <= plain["rounds"], "generate --plugin: drafter, verifier, policy")
        tree = run_json(*generate, *plugins, "--draft-model", model, "--set", "tree.type=my_tree", "--set", "tree.depth=2")
        check(tree["token_ids"] == plain["token_ids"] and tree["mean_acceptance_length"] > 2.5, "generate --plugin: tree")
        sparse = run_json(*generate, *plugins, "--drafter", "sparse_cache", "--set", "drafter.attention.type=my_attention",
                          "--set", "drafter.attention.window=2")
        check(sparse["token_ids"] == plain["token_ids"] and sparse["rounds"] < plain["rounds"], "generate --plugin: attention")
        experts = os.path.join(folder, "experts")
        run_ok("make-random", "--config", os.path.join(SOURCE, "configs/models/tiny-mixtral.json"), "--out", experts, "--seed", 3)
        on_experts = ("generate", "--model", experts, *generate[3:], *plugins)
        routed = run_json(*on_experts, "--set", "target.router.type=my_router")
        drafted = run_json(*on_experts, "--set", "target.router.type=my_router", "--drafter", "prompt_lookup")
        check(routed["token_ids"] == drafted["token_ids"] != run_json(*on_experts)["token_ids"], "generate --plugin: router, drafted or not")
        early = run_json(*generate, *plugins, "--set", "target.exit={type: my_exit, threshold: 0}")
        check(early["token_ids"] != plain["token_ids"], "generate --plugin: exit policy")
        late = run_json(*generate, *plugins, "--set", "target.exit={type: my_exit, threshold: 1}")
        check(late["token_ids"] == plain["token_ids"], "generate --plugin: an exit policy that never lets go")
        refused("generate: a router of a model without experts", ["--set pipeline.target.router.type", "no experts"], *generate, *plugins,
                "--set", "target.router.type=my_router")
        refused("generate: a parameter of a router", ["my_router", "shar", "share"], *on_experts, "--set", "target.router={type: my_router, shar: 1}")
        refused("generate: a parameter of an attention policy", ["my_attention", "widnow", "window"], *generate, *plugins, "--drafter", "sparse_cache",
                "--set", "drafter.attention={type: my_attention, widnow: 2}")
        refused("generate: a parameter of a plug-in", ["my_drafter", "num_specultive_tokens", "num_speculative_tokens"], *generate, *plugins,
                "--drafter", "my_drafter", "--set", "drafter.num_specultive_tokens=3")
        refused("generate: without the plug-in", ["--drafter: unknown drafter 'my_drafter'"], *generate, "--drafter", "my_drafter")
        refused("generate: what a plug-in throws", ["it judges nothing"], *generate, "--plugin", libraries["thrower"], "--verifier", "my_throws")

    def studies():
        study = os.path.join(folder, "study.yaml")
        with open(study, "w") as file:
            file.write(STUDY % {"plugins": ", ".join(os.path.relpath(libraries[kind], folder) for kind in KINDS), "model": model})
        check("ok: 1 cell" in run_ok("check", study), "check: plug-ins that the study names, beside the study")
        cell = run_json("run", study, "--out", os.path.join(folder, "results"), "--json")["cells"][0]
        manifest = json.load(open(os.path.join(cell["folder"], "manifest.json")))
        check([plugin["file"] for plugin in manifest["plugins"]] == [f"lib{name}.so" for name in NAMES.values()], "run: the manifest names plug-ins")
        check(all(re.fullmatch("xxh3:[0-9a-f]{32}", plugin["hash"]) for plugin in manifest["plugins"]), "run: with their content")
        check(manifest["plugins"][0]["strategies"] == ["drafter 'my_drafter'"], "run: and what they registered")
        check(cell["tasks"]["overall"]["same_as_baseline"] == 1.0, "run: a study")
        by_option = run_json("run", study, "--set", "plugins=~", *plugins, "--out", os.path.join(folder, "results"), "--json")["cells"][0]
        check(by_option["tasks"]["overall"]["same_as_baseline"] == 1.0, "run --plugin")
        run_ok("check", study, "--set", "plugins=~", *plugins)
        path = os.path.join(cell["folder"], "manifest.json")
        manifest["plugins"][0]["hash"] = "xxh3:" + "0" * 32
        with open(path, "w") as file:
            json.dump(manifest, file)
        other = run("run", study, "--out", os.path.join(folder, "results"))
        last = (other.stderr.strip().splitlines() or [""])[-1]
        check(other.returncode == 2 and "--fresh" in last
              and f"the plug-in {manifest['plugins'][0]['file']} with the drafter 'my_drafter' has changed since it was run" in last,
              f"run: another plug-in is refused like other weights: {other.stderr.strip()[-200:]}")
        run_ok("run", study, "--out", os.path.join(folder, "results"), "--fresh")
        refused("check: a study without its plug-ins", [study + ":4", "my_drafter"], "check", study, "--set", "plugins=~")
        refused("check: a plug-in that is not there", ["--set plugins", "gone.so"], "check", study, "--set", "plugins=[gone.so]")
        refused("check: a plug-in that is none", ["--set plugins", "no shared library"], "check", study, "--set", f"plugins={study}")

    def certifies():
        rows = json.loads(run_ok("certify", "--plugin", libraries["drafter"], "--drafter", "my_drafter", "--verifier", "rejection", "--json"))
        check([row["verdict"] for row in rows] == ["lossless"] and rows[0]["drafter"] == "my_drafter", "certify --plugin: the drafter")
        rows = json.loads(run_ok("certify", "--plugin", libraries["verifier"], "--verifier", "my_verifier", "--drafter", "prompt_lookup", "--json"))
        check([row["verdict"] for row in rows] == ["lossless"] and rows[0]["tv"] < 1e-12, "certify --plugin: the verifier")
        attention = ("certify", "--plugin", libraries["attention"], "--verifier", "rejection", "--json")
        rows = json.loads(run_ok(*attention, "--attention", "{type: my_attention, window: 1}"))
        check([row["verdict"] for row in rows] == ["lossless"] and rows[0]["rejected"] > 0, "certify --attention: of a plug-in, with parameters")
        rows = json.loads(run_ok(*attention, "--attention", "streaming"))
        check([(row["verdict"], row["drafter"]) for row in rows] == [("lossless", "sparse_cache: streaming")], "certify --attention: a name")
        whole = run(*attention, "--attention", "my_attention")
        check(whole.returncode == 1 and "not exercised" in whole.stderr, f"certify --attention: all in sight exercises nothing: {whole.stderr[:200]}")
        refused("certify --attention: no such policy", ["--attention: unknown", "my_atention", "my_attention"], *attention, "--attention", "{type: my_atention}")
        refused("certify --attention: no such name", ["h3o", "h2o"], *attention, "--attention", "h3o")
        refused("certify --attention: a drafter without", ["prompt_lookup", "sparse_cache"], *attention, "--attention", "h2o", "--drafter", "prompt_lookup")
        router = ("certify", "--plugin", libraries["router"], "--json", "--router")
        rows = json.loads(run_ok(*router, "my_router"))
        check([(row["router"], row["verdict"], row["row_independent"]) for row in rows] == [("my_router", "lossless", True)], "certify --router: of a plug-in")
        check(json.loads(run_ok(*router, "{type: my_router, share: 0.9}"))[0]["exercised"]["rejected"] > 0, "certify --router: with parameters")
        refused("certify --router: no such router", ["my_ruoter", "my_router"], *router, "my_ruoter")
        refused("certify --router: with a drafter", ["alone"], *router, "my_router", "--drafter", "model")
        early = ("certify", "--plugin", libraries["exit"], "--json", "--exit")
        rows = json.loads(run_ok(*early, "{type: my_exit, threshold: 0.1}"))
        check([(row["exit"], row["verdict"], row["left"] > 0) for row in rows] == [("my_exit", "lossless", True)], "certify --exit: of a plug-in")
        whole = run(*early, "{type: my_exit, threshold: 1}")
        check(whole.returncode == 1 and "no row left early" in whole.stderr, f"certify --exit: nobody leaves: {whole.stderr[:200]}")
        refused("certify --exit: no such policy", ["my_exti", "my_exit"], *early, "my_exti")
        refused("certify --exit: with a drafter", ["alone"], *early, "my_exit", "--drafter", "model")
        out = run_ok("certify", "--plugin", libraries["verifier"], "--verifier", "my_verifier", "--drafter", "model")
        check("it judges chosen tokens only" in out, "certify --plugin: what the verifier refuses")

    def benches():
        out = run_json("bench", "verify", "--model", model, "--plugin", libraries["verifier"], "--verifier", "my_verifier", "--nodes", 8,
                       "--context", 8, "--repeats", 1, "--json")
        check([row["verifier"] for row in out["rows"]] == ["my_verifier"], "bench verify --plugin")

    def failures_are_one_line():
        data = open(libraries["drafter"], "rb").read()
        found = re.search(rb"interfaces ([0-9a-f]{12}), ", data)
        files = ("libother.so", "libcut.so", "text.so", "libtaken.so", "libcopy.so")
        other, cut, text, taken, copy = (os.path.join(folder, name) for name in files)
        open(other, "wb").write(data[:found.start(1)] + b"0123456789ab" + data[found.end(1):])
        open(cut, "wb").write(data[:found.end() + 200])
        open(text, "w").write("no library\n")
        open(taken, "wb").write(open(libraries["thrower"], "rb").read().replace(b"my_throws", b"rejection"))
        shutil.copy(libraries["verifier"], copy)
        refused("another ABI", ["libother.so: was built for Foretell", "0123456789ab", found.group(1).decode(), "build it again"], "list",
                "--plugin", other)
        refused("a truncated library", ["libcut.so", "cut short"], "list", "--plugin", cut)
        refused("no library", ["text.so: is no shared library"], "list", "--plugin", text)
        refused("a folder", ["is a folder; expected a file"], "list", "--plugin", folder)
        refused("a missing file", ["gone.so: no such plug-in"], "list", "--plugin", os.path.join(folder, "gone.so"))
        refused("a library that is no plug-in", ["no ABI tag"], "list", "--plugin", shutil.which("cmake"))
        refused("a missing symbol", ["libunresolved.so: cannot be loaded: undefined symbol", "defined_nowhere"], "list", "--plugin",
                libraries["unresolved"])
        refused("nothing registered", ["libnothing.so: registers no strategy"], "list", "--plugin", libraries["nothing"])
        refused("a built-in name", ["libtaken.so: verifier 'rejection' is already registered in verifiers/rejection.cpp:"], "list",
                "--plugin", taken)
        refused("a name of another plug-in", ["libcopy.so: verifier 'my_verifier' is already registered in", "of libmy_verifier.so"], "list",
                "--plugin", libraries["verifier"], "--plugin", copy)

    for test in (lists, generates, studies, certifies, benches, failures_are_one_line):
        case(test)


if not shutil.which("cmake") or not os.path.exists(os.path.join(os.path.dirname(os.path.abspath(BIN)), "cmake_install.cmake")):
    print("SKIPPED plug-ins: cmake or the build folder is not there", flush=True)
    raise SystemExit(77)
with temporary_folder() as temporary:
    main(temporary)
finish()
