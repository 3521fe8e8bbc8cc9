"""A target whose rows leave early (`pipeline.target: {exit: ..., kv: ...}`): read, refused, swept; what it costs is recorded and reported."""

import json
import os

from support import *

CONFIG = os.path.join(os.path.abspath(SOURCE), "configs/models/tiny-llama.json")
STUDY = """study: leaving
model: {target: {type: random, config: %s}}
pipeline:
  target: {exit: {type: fixed_layer, layer: 1}, kv: recompute, max_pending: 3}
  drafter: {type: prompt_lookup}
workload: {type: random_ids, count: 3, length: 24, max_new_tokens: 24, ignore_eos: true}
run: {repeats: 1, warmup: 0, batch_size: 3}
baseline: {pipeline.drafter: none, pipeline.target: {}}
"""


def main(folder):
    study = os.path.join(folder, "study.yaml")
    with open(study, "w", encoding="utf-8") as file:
        file.write(STUDY % CONFIG)

    def mistakes():
        for rules, words in (("exit: {type: fixed_layer, layer: 8}", ["layer 8", "expected 1 to 7"]), ("exit: {type: margn}", ["margin"]),
                             ("exit: {type: margin, threshold: 2}", ["threshold"]), ("exit: {type: margin, layers: [2, 9]}", ["layer 9", "1 to 7"]),
                             ("exit: margin, kv: keep", ["kv", "propagate, copy, recompute, hole"]), ("kv: copy", ["kv", "expected exit"]),
                             ("exit: margin, kv: hole, attention: {type: streaming}", ["hole", "attention"])):
            path = os.path.join(folder, "wrong.yaml")
            with open(path, "w", encoding="utf-8") as file:
                file.write((STUDY % CONFIG).replace("exit: {type: fixed_layer, layer: 1}, kv: recompute, max_pending: 3", rules))
            done = run("check", path)
            lines = done.stderr.strip().split("\n")
            check(done.returncode == 2 and len(lines) == 1 and f"{path}:4: " in lines[0] and all(word in lines[0] for word in words),
                  f"{{{rules}}} is one line with its place: {done.stderr.strip()[:200]}")

    def runs():
        check("lossless towards the target's rules, lossy towards the checkpoint" in run_ok("check", study), "check names both notions of lossless")
        out = os.path.join(folder, "results")
        cells = run_json("run", study, "--out", out, "--json", "--set",
                         "sweep={pipeline.target.kv: [propagate, copy, recompute, hole]}", "--set", "target.max_pending=3")["cells"]
        for cell in cells:
            overall = cell["tasks"]["overall"]
            check(overall["work"]["left_early_share"] == 1, f"{cell['folder']}: all rows leave early")
            with open(os.path.join(cell["folder"], "rounds.jsonl"), encoding="utf-8") as file:
                rounds = [json.loads(line) for line in file]
            method = [row for row in rounds if row["pipeline"] == "method"]
            check(all(row["work"]["left_early"] == row["scored"] for row in method), "rounds.jsonl: the work of each round")
            check(not any("work" in row for row in rounds if row["pipeline"] == "baseline"), "rounds.jsonl: none of the checkpoint itself")
        recomputed = [cell["tasks"]["overall"]["work"]["recomputed_per_row"] > 0 for cell in cells]
        check(recomputed == [False, False, True, False], "only recompute computes rows later")
        layers = [cell["tasks"]["overall"]["work"]["layers_per_row"] for cell in cells]
        check(layers[0] == layers[1] == layers[3] == 1 < layers[2], f"layers that rows go through: {layers}")
        run_ok("report", os.path.join(out, "leaving"))
        report = open(os.path.join(out, "leaving", "report.md"), encoding="utf-8").read()
        check("layers/row" in report and "left early" in report, "report: what was computed")
        again = run_json("run", study, "--out", out, "--json", "--set",
                         "sweep={pipeline.target.kv: [propagate, copy, recompute, hole]}", "--set", "target.max_pending=3")["cells"]
        check([cell["tasks"]["overall"]["work"] for cell in again] == [cell["tasks"]["overall"]["work"] for cell in cells], "a second run reads it")

    def generates():
        model = os.path.join(folder, "model")
        run_ok("make-random", "--config", CONFIG, "--out", model)
        ids = ("generate", "--model", model, "--ids", "5 6 7 5 6 7 5 6", "--max-new-tokens", 24, "--ignore-eos", "--json")
        plain = run_json(*ids)["token_ids"]
        for kv in ("propagate", "copy", "recompute", "hole"):
            rules = f"target={{exit: {{type: fixed_layer, layer: 2}}, kv: {kv}}}"
            early = run_json(*ids, "--set", rules)["token_ids"]
            drafted = run_json(*ids, "--set", rules, "--drafter", "prompt_lookup")["token_ids"]
            check(plain != early == drafted, f"generate, kv: {kv}: lossless towards the rules")
        for policy in ("{type: max_probability, threshold: 1}", "{type: patience, patience: 0}", "{type: entropy, threshold: 0}"):
            check(run_json(*ids, "--set", f"target={{exit: {policy}}}")["token_ids"] == plain, f"generate: {policy} is the model itself")

    for test in (mistakes, runs, generates):
        case(test)


with temporary_folder() as temporary:
    main(temporary)
finish()
