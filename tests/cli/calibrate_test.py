"""`foretell calibrate`: the fastest threshold of a study that keeps a risk, from the answers that a run has recorded."""

import json
import os
import shutil

from support import *

CONFIG = os.path.join(os.path.abspath(SOURCE), "configs/models/tiny-llama.json")
STUDY = """study: exits
model: {target: {type: random, config: %s}}
pipeline:
  target: {exit: {type: fixed_layer, layer: 7}}
  drafter: none
sweep: {pipeline.target.exit.layer: [7, 6, 2]}
workload: {type: random_ids, count: 40, length: 12, max_new_tokens: 3, ignore_eos: true}
run: {repeats: 1, warmup: 0, batch_size: 20}
"""


def main(folder):
    study, out = os.path.join(folder, "study.yaml"), os.path.join(folder, "results")
    with open(study, "w", encoding="utf-8") as file:
        file.write(STUDY % CONFIG)
    run_ok("run", study, "--out", out)
    results = os.path.join(out, "exits")

    def losses():
        """Of each exit layer against the deepest one, computed here from the recorded tokens."""
        with open(os.path.join(results, "study.json"), encoding="utf-8") as file:
            cells = json.load(file)["cells"]
        answers = {}
        for cell in cells:
            with open(os.path.join(results, cell["hash"], "generations.jsonl"), encoding="utf-8") as file:
                rows = [json.loads(line) for line in file]
            layer = int(cell["settings"]["pipeline.target.exit.layer"])
            answers[layer] = {row["conversation"]: row["tokens"] for row in rows if row["pipeline"] == "method"}
        return {layer: sum(answers[layer][prompt] != answers[7][prompt] for prompt in answers[7]) / 40 for layer in answers}

    def chooses():
        loss = losses()
        check(loss[7] == 0 and 0 < loss[6] < loss[2], f"losses rise: {loss}")
        written = os.path.join(folder, "chosen.yaml")
        risk = min(0.99, loss[6] + 0.3)
        text = run_ok("calibrate", results, "--loss", "different", "--risk", risk, "--out", written)
        check(f"{loss[6]:.4f}" in text and "passes, chosen" in text, f"the loss of layer 6 is that of its tokens: {text}")
        section = open(written, encoding="utf-8").read()
        check("pipeline:\n  target:\n    exit:\n      layer: 6\n" in section and f"at most {risk}" in section and "40 prompts" in section,
              f"--out: a section with its guarantee: {section}")
        none = run("calibrate", results, "--loss", "different", "--risk", 0.001)
        check(none.returncode == 1 and "no value passes: 40 prompts prove nothing" in none.stdout and "2995 at least" in none.stdout,
              f"too few prompts: {none.stdout}")
        rouge = run("calibrate", results, "--risk", 0.9)
        check(rouge.returncode == 0 and "rouge_l" in rouge.stdout, "ROUGE-L is the default")
        up = run("calibrate", results, "--ascending", "--loss", "different", "--risk", 0.3)
        check("reference" in up.stdout.split("\n")[4] and up.stdout.split("\n")[4].lstrip().startswith("2"), f"--ascending: {up.stdout}")

    def mistakes():
        damaged = os.path.join(folder, "damaged")
        shutil.copytree(results, damaged)
        with open(os.path.join(damaged, "study.json"), encoding="utf-8") as file:
            cell = json.load(file)["cells"][1]["hash"]
        os.remove(os.path.join(damaged, cell, "summary.json"))
        renamed = os.path.join(folder, "renamed")
        shutil.copytree(results, renamed)
        index = os.path.join(renamed, "study.json")
        with open(index, encoding="utf-8") as file:
            study_json = json.load(file)
        study_json["cells"][2]["settings"]["pipeline.target.exit.layer"] = "deep"
        with open(index, "w", encoding="utf-8") as file:
            json.dump(study_json, file)
        for arguments, words in (((os.path.join(folder, "none"),), ["none"]), ((results, "--over", "pipeline.tree"), ["no setting", "pipeline.tree"]),
                                 ((renamed,), ["'deep'", "expected a number"]),
                                 ((results, "--risk", "0"), ["--risk", "between 0 and 1"]), ((results, "--loss", "bleu"), ["bleu", "rouge_l"]),
                                 ((results, "--loss", "wrong"), ["no right answer", "--loss"]), ((results, "--where", "x"), ["SETTING=VALUE"]),
                                 ((results, "--where", "pipeline.target.exit.layer=7"), ["differ in no setting"]),
                                 ((damaged,), ["incomplete", "finish the run"])):
            done = run("calibrate", *arguments)
            lines = done.stderr.strip().split("\n")
            check(done.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words), f"{arguments[1:]}: {done.stderr.strip()[:200]}")

    for test in (chooses, mistakes):
        case(test)


with temporary_folder() as temporary:
    main(temporary)
finish()
