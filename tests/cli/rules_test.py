"""Rules of the target (`pipeline.target`): read, swept, refused, part of hash, manifest and report; both notions of lossless."""

import json
import os
import re

from support import *

STUDY = """study: ruled
model: {target: {type: random, config: %(config)s}}
pipeline:
  target: {router: {type: top_k, k: 1}}
  drafter: {type: prompt_lookup}
workload: {type: random_ids, count: 3, length: 24, max_new_tokens: 24, ignore_eos: true}
run: {repeats: 1, warmup: 0}
baseline: {pipeline.drafter: none, pipeline.target: {}}
sweep: {pipeline.target.router.k: [1, 2]}
"""
CONFIGS = os.path.join(os.path.abspath(SOURCE), "configs/models")


def main(folder):
    study = os.path.join(folder, "study.yaml")
    with open(study, "w", encoding="utf-8") as file:
        file.write(STUDY % {"config": os.path.join(CONFIGS, "tiny-mixtral.json")})
    dense = f"model.target={{type: random, config: {CONFIGS}/tiny-llama.json}}"

    def mistakes():
        for rules, words in (("rouer: top_k", ["unknown key", "did you mean 'router'?"]), ("router: topk", ["did you mean 'top_k'?"]),
                             ("router: {type: top_k, k: 9}", ["router 'top_k' does not fit this model: k: 9 of 8 experts"]),
                             ("router: {type: top_k, kk: 1}", ["'kk'", "did you mean 'k'?"]), ("attention: {type: strm}", ["unknown sparse attention"]),
                             ("layers: {skip_mlp: [4]}", ["skip_mlp: there is no layer 4; expected 0 to 3"]), ("int8: 3", ["int8"])):
            path = os.path.join(folder, "wrong.yaml")
            with open(path, "w", encoding="utf-8") as file:
                file.write((STUDY % {"config": os.path.join(CONFIGS, "tiny-mixtral.json")}).replace("router: {type: top_k, k: 1}", rules)
                           .split("sweep:")[0])
            done = run("check", path)
            lines = done.stderr.strip().split("\n")
            check(done.returncode == 2 and len(lines) == 1 and f"{path}:4: " in lines[0] and all(word in lines[0] for word in words),
                  f"{{{rules}}} is one line with its place: {done.stderr.strip()[:200]}")
        done = run("check", study, "--set", dense)
        check(done.returncode == 2 and f"{study}:4: pipeline.target: router: this model has no experts" in done.stderr, "a router of a dense model")
        done = run("run", study, "--record", "probs", "--out", folder)
        check(done.returncode == 2 and "scores under rules of its own" in done.stderr, "--record probs under rules is refused")

    def checked():
        out = run_ok("check", study)
        check(out.count("lossless towards the target's rules, lossy towards the checkpoint") == 2, "check names both notions of lossless")
        out = run_ok("check", study, "--set", "sweep=~", "--set", "target={attention: {type: streaming, window: 4}}")
        check("lossy towards the target's rules and the checkpoint" in out, "check: drafts under an attention policy are lossy towards both")
        out = run_ok("check", study, "--set", "sweep=~", "--set", "target={attention: {type: streaming, window: 4}}", "--set", "drafter=none")
        check("lossless towards the target's rules" in out, "check: without a draft they are not")
        check("note:" not in run_ok("check", study, "--set", "sweep=~", "--set", "target={}"), "check: nothing to say without rules")

    def default_baseline():
        """Without the key it is plain decoding under the cell's own rules: a lossless pipeline says the same."""
        with open(study, encoding="utf-8") as file:
            plain = "".join(line for line in file if not line.startswith(("baseline:", "sweep:")))
        path = os.path.join(folder, "default.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(plain.replace("study: ruled", "study: default"))
        cell = run_json("run", path, "--set", "model.dtype=f32", "--out", os.path.join(folder, "default"), "--json")["cells"][0]
        check(cell["tasks"]["overall"]["same_as_baseline"] == 1.0, "the baseline that is not named scores under the cell's rules")

    def runs():
        out = os.path.join(folder, "results")
        cells = run_json("run", study, "--out", out, "--json")["cells"]
        keeps = [cell["keeps_distribution_of"] for cell in cells]
        check(keeps == [{"target": True, "checkpoint": False}] * 2, "run: whose distribution a cell keeps")
        one, two = (cell["tasks"]["overall"] for cell in cells)
        check(two["same_as_baseline"] == 1 and one["same_as_baseline"] < 1, "k=2 is the checkpoint's own rule, k=1 is not")
        check(one["same_as_greedy"] < 1 and two["same_as_greedy"] == 1, "quality: auto measures where the checkpoint's distribution is lost")
        check(not cells[0]["lossless"] and cells[0]["divergence"] is None, "other rules than the baseline's: differences are no faults")
        manifests = [json.load(open(os.path.join(cell["folder"], "manifest.json"), encoding="utf-8")) for cell in cells]
        check([m["target_rules"] for m in manifests] == ["{router: {type: top_k, k: 1}}", "{router: {type: top_k, k: 2}}"], "manifest: the rules")
        check(len({m["cell_hash"] for m in manifests}) == 2 and manifests[0]["keeps_distribution_of"] == keeps[0], "manifest: hash and claims")
        run_ok("report", os.path.join(out, "ruled"))
        check("Rules of the target, k=1: {router: {type: top_k, k: 1}}: lossless towards the target's rules" in
              open(os.path.join(out, "ruled", "report.md"), encoding="utf-8").read(), "report: the rules of each cell")
        same = run_json("run", study, "--out", os.path.join(folder, "same"), "--json", "--set", "baseline={pipeline.drafter: none}")["cells"]
        check(all(cell["lossless"] and cell["tasks"]["overall"]["same_as_baseline"] == 1 for cell in same),
              "a baseline under the same rules emits the same tokens")
        forms = run_json("run", study, "--out", os.path.join(folder, "forms"), "--json", "--set", "drafter=none", "--set",
                         "sweep={pipeline.target: [{}, {int8: true}, {layers: {skip_attention: [2]}}]}")["cells"]
        check([cell["keeps_distribution_of"]["checkpoint"] for cell in forms] == [True, False, False], "pipeline.target is swept as a whole")

    def generates():
        model = os.path.join(folder, "model")
        run_ok("make-random", "--config", os.path.join(CONFIGS, "tiny-mixtral.json"), "--out", model)
        ids = ("generate", "--model", model, "--ids", "5 6 7 5 6 7 5 6", "--max-new-tokens", 24, "--ignore-eos", "--json")
        plain = run_json(*ids)["token_ids"]
        for rules in ("{router: {type: top_k, k: 1}}", "{layers: {skip: [1]}}", "{int8: true}"):
            ruled = run_json(*ids, "--set", f"target={rules}")["token_ids"]
            drafted = run_json(*ids, "--set", f"target={rules}", "--drafter", "prompt_lookup")["token_ids"]
            check(plain != ruled == drafted, f"generate under {rules}: lossless towards the rules")

    def set_by_the_command_line():
        """What --set has put into a mapping is named, beside the mapping's place."""
        for override, words in (("target.router.k=9", f"--set target.router.k (in {study}:4): pipeline.target: router 'top_k' does not fit"),
                                ("target.router.kk=1", "--set target.router.kk: unknown key"),
                                ("target.layers={skip: [1, 2, 3, 0]}", "--set target.layers: pipeline.target: layers: none would be left"),
                                ("drafter={type: self, exit: {type: fixed_layer, layer: 9}}", "--set drafter: layer 9"),
                                ("tree={type: widths, widths: [90, 90]}", "--set tree: widths: the tree has 8190 nodes at depth 2 already"),
                                ("model.target.config=gone.json", "--set model.target.config: gone.json")):
            done = run("check", study, "--set", "sweep=~", "--set", override, *(("--set", "drafter={type: self, int8: true}") if "tree" in override else ()))
            lines = done.stderr.strip().split("\n")
            check(done.returncode == 2 and len(lines) == 1 and words in lines[0], f"--set {override}: {done.stderr.strip()[:240]}")

    def drafts_on_a_cache_with_holes():
        """An attention policy cannot choose among rows that kv: hole hides: a second cache, or one line with its place."""
        path = os.path.join(folder, "holes.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write((STUDY % {"config": os.path.join(CONFIGS, "tiny-llama.json")}).split("sweep:")[0]
                       .replace("router: {type: top_k, k: 1}", "exit: {type: max_probability, threshold: 0.0001}, kv: hole")
                       .replace("{type: prompt_lookup}", "{type: sparse_cache, attention: {type: streaming, sinks: 1, window: 2}}"))
        for drafter in ("sparse_cache", "self"):
            done = run("check", path, "--set", f"drafter.type={drafter}", "--set", "drafter.cache=target")
            check(done.returncode == 2 and f"(in {path}:5): {drafter}: an attention policy chooses among all positions" in done.stderr and
                  "expected cache: own" in done.stderr, f"{drafter}: cache: target is refused: {done.stderr.strip()[:240]}")
            cell = run_json("run", path, "--set", f"drafter.type={drafter}", "--set", "model.dtype=f32", "--set", "baseline={pipeline.drafter: none}", "--out",
                            os.path.join(folder, drafter), "--json")["cells"][0]
            check(cell["tasks"]["overall"]["same_as_baseline"] == 1.0, f"{drafter}: cache: auto takes its own, and loses nothing")

    def notes():
        dense = os.path.join(CONFIGS, "tiny-llama.json")
        for where, rules in (("target", "target={exit: {type: fixed_layer, layer: 1}, max_pending: 3}"),
                             ("drafter", "drafter={type: self, exit: {type: fixed_layer, layer: 1}, max_pending: 3}")):
            done = run("check", study, "--set", "sweep=~", "--set", f"model.target.config={dense}", "--set", "target={}", "--set", rules)
            check(done.returncode == 0 and done.stderr.count("max_pending says nothing without kv: recompute") == 1, f"{where}: a note, once: {done.stderr[:200]}")
        done = run("check", study, "--set", "sweep=~", "--set", f"model.target.config={dense}", "--set",
                   "target={exit: {type: fixed_layer, layer: 1}, kv: recompute, max_pending: 3}")
        check(done.returncode == 0 and "note" not in done.stderr, "max_pending with kv: recompute")
        done = run("check", study, "--set", "sweep=~", "--set", f"model.target.config={dense}", "--set", "target={exit: {threshold: 1}}")
        check(done.returncode == 2 and "an exit policy needs the key 'type'" in done.stderr, "the article before a kind")

    def refused_by_certify():
        done = run("certify", "--router", "{type: top_k, k: 999}")
        check(done.returncode == 2 and done.stdout == "" and "top_k: refused: k: 999 of " in done.stderr, f"certify a router that fits nowhere: {done.stderr[:160]}")

    for test in (mistakes, checked, default_baseline, runs, generates, set_by_the_command_line, drafts_on_a_cache_with_holes, notes, refused_by_certify):
        case(test)


with temporary_folder() as temporary:
    main(temporary)
finish()
