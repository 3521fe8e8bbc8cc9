#!/usr/bin/env python3
"""What a run writes of each answer: times of a batch, seeds, limits of goodput, and that a missing answer is run again."""

import json
import os

from support import *

STUDY = """
study: records
model: {target: %(target)s}
pipeline: {drafter: {type: prompt_lookup, num_speculative_tokens: 3, whole_continuation: false}}
sampling: {temperature: 1.0}
workload: {type: random_ids, count: 4, length: 16, max_new_tokens: 12, ignore_eos: true}
run: {warmup: 0%(run)s}
baseline: none
"""


def study(folder, target, run="", more=""):
    path = os.path.join(folder, "study.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(STUDY % {"target": target, "run": run} + more)
    return path


def rows(cell, name):
    with open(os.path.join(cell["folder"], name), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def main(folder):
    target = make_random(folder)

    def a_batch_shares_its_time():
        cell = run_json("run", study(folder, target, ", batch_size: 4"), "--out", os.path.join(folder, "batch"), "--json")["cells"][0]
        answers = rows(cell, "generations.jsonl")
        last = max(row["end_ns"] for row in rows(cell, "rounds.jsonl"))
        check(len(answers) == 4 and len({row["wall_ns"] for row in answers}) == 1, "records: each answer of a batch has the same time")
        # Together they are the batch's, which ended with its last round.
        check(answers[0]["wall_ns"] < last <= sum(row["wall_ns"] for row in answers), "records: and that is its share")

    def the_seed_decides():
        def texts(seed, out):
            cell = run_json("run", study(folder, target), "--set", f"run.seed={seed}", "--out", os.path.join(folder, out), "--json")["cells"][0]
            return [row["tokens"] for row in rows(cell, "generations.jsonl")]

        first = texts(1, "seed1")
        check(texts(1, "again") == first, "records: the same seed gives the same answers")
        check(texts(2, "seed2") != first, "records: another seed gives others")

    def a_missing_answer_is_run_again():
        path, out = study(folder, target, ", repeats: 2"), os.path.join(folder, "missing")
        cell = run_json("run", path, "--out", out, "--json")["cells"][0]
        whole = [row["tokens"] for row in rows(cell, "generations.jsonl")]
        os.remove(os.path.join(cell["folder"], "summary.json"))
        with open(os.path.join(cell["folder"], "generations.jsonl"), encoding="utf-8") as file:
            lines = file.readlines()
        with open(os.path.join(cell["folder"], "generations.jsonl"), "w", encoding="utf-8") as file:
            file.writelines(lines[:1] + lines[2:])
        cell = run_json("run", path, "--out", out, "--json")["cells"][0]
        answers = [row["tokens"] for row in rows(cell, "generations.jsonl")]
        check(len(whole) == 8 and sorted(answers) == sorted(whole), "records: the answer that is not there is run again")
        check(cell["tasks"]["overall"]["requests"] == 4, "records: and counted")

    def each_limit_of_goodput_counts():
        limits = ("slo_ttft_ms", "slo_tpot_ms", "slo_latency_ms")
        cells = "".join(f"      - {{run.{limit}: {value}}}\n" for limit in limits for value in ("1.0e-6", "1.0e+9"))
        path = study(folder, target, more="sweep:\n  - cells:\n" + cells)
        results = run_json("run", path, "--out", os.path.join(folder, "limits"), "--json")["cells"]
        for limit, strict, loose in zip(limits, results[::2], results[1::2]):
            check(strict["tasks"]["overall"]["goodput_per_second"] == 0 < loose["tasks"]["overall"]["goodput_per_second"],
                  f"records: run.{limit} decides what goodput counts")

    for test in (a_batch_shares_its_time, the_seed_decides, a_missing_answer_is_run_again, each_limit_of_goodput_counts):
        case(test)


with temporary_folder() as base:
    main(base)
finish()
