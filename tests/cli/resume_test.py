"""A study that is killed, blocked, cut into shards or out of disk: nothing that was finished is lost, and the numbers come out the same."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time

from support import *

# A drafter that remembers earlier prompts is among them: what it has learnt must come back too.
STUDY = """
study: killed
model: {target: %(target)s, draft: %(draft)s}
workload: {type: random_ids, count: 12, length: 24, max_new_tokens: 60, ignore_eos: true}
run: {repeats: 2, warmup: 1}
sweep:
  sampling.temperature: [0.0, 0.8]
  pipeline.drafter: [{type: none}, {type: prompt_lookup, num_speculative_tokens: 3}, {type: model, num_speculative_tokens: 3}, {type: suffix_decoding},
                     {type: token_recycling, num_nodes: 6}]
"""
TIMES = ("_ns", "joules", "checksum")  # the checksum is over the times too


def is_time(key):
    return key.endswith(TIMES)


def rows_of(folder):
    """cell -> file -> sorted rows without their times"""
    cells = {}
    for cell in sorted(os.listdir(folder)):
        path = os.path.join(folder, cell)
        if not os.path.isdir(path):
            continue
        cells[cell] = {}
        for name in ("generations.jsonl", "rounds.jsonl"):
            with open(os.path.join(path, name), encoding="utf-8") as file:
                rows = [{key: value for key, value in json.loads(line).items() if not is_time(key)} for line in file]
            cells[cell][name] = sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))
    return cells


def started(study, out, *more):
    return subprocess.Popen([BIN, "run", study, "--out", out, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def size_of(out):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(out) for name in names if name.endswith(".jsonl"))


def main(folder):
    target = make_random(folder, "target")
    draft = make_random(folder, "draft", num_hidden_layers=1)
    study = os.path.join(folder, "study.yaml")
    with open(study, "w", encoding="utf-8") as file:
        file.write(STUDY % {"target": target, "draft": draft})
    whole = os.path.join(folder, "whole")
    first = run_json("run", study, "--out", whole, "--json")
    expected = rows_of(os.path.join(whole, "killed"))

    def the_study_is_one_worth_killing():
        check(len(expected) == 10, "resume: ten cells")
        drafted = {cell["name"]: cell["tasks"]["overall"]["drafted"] for cell in first["cells"]}
        check(sum(count > 0 for count in drafted.values()) == 8, f"resume: every drafter drafts: {drafted}")

    def killed_three_times():
        out = os.path.join(folder, "killed")
        total, dice = size_of(whole), random.Random(5)
        kills = 0
        while kills < 3:
            wanted = total * (kills + dice.random()) / 4
            process = started(study, out)
            while process.poll() is None and size_of(out) < wanted:
                time.sleep(0.005)
            ended = process.poll() is not None
            process.send_signal(signal.SIGKILL)
            process.communicate()
            check(not ended, f"resume: killed at {size_of(out)} of {total} bytes")
            kills += 1
        before = size_of(out)
        last = run_json("run", study, "--out", out, "--json")
        check(before > 0 and rows_of(os.path.join(out, "killed")) == expected, "resume: after three kills all rows are those of an undisturbed run")
        for one, other in zip(first["cells"], last["cells"]):
            a, b = one["tasks"]["overall"], other["tasks"]["overall"]
            same = [key for key in a if "acceptance" in key or key in ("tokens", "rounds", "drafted", "accepted", "same_as_baseline", "requests")]
            check(all(a[key] == b[key] for key in same), f"resume: the same numbers: {one['name']}")
        manifests = [json.load(open(os.path.join(cell["folder"], "manifest.json"))) for cell in last["cells"]]
        check(max(len(manifest["passes"]) for manifest in manifests) >= 2, "resume: the manifest tells of each pass")

    def a_finished_study_runs_nothing():
        before = {os.path.join(at, name): os.path.getmtime(os.path.join(at, name)) for at, _, names in os.walk(whole) for name in names
                  if name.endswith((".jsonl", "summary.json", "manifest.json"))}
        again = run_json("run", study, "--out", whole, "--json")
        after = {path: os.path.getmtime(path) for path in before}
        check(before == after, "resume: a finished study is not touched")
        check([cell["tasks"] for cell in again["cells"]] == [cell["tasks"] for cell in first["cells"]], "resume: and prints what it has")

    def torn_lines_are_dropped():
        out = os.path.join(folder, "torn")
        shutil.copytree(whole, out)
        cell = next(os.path.join(out, "killed", name) for name in sorted(os.listdir(os.path.join(out, "killed"))) if len(name) == 16)
        for name in ("generations.jsonl", "rounds.jsonl"):
            path = os.path.join(cell, name)
            with open(path, "r+b") as file:
                file.truncate(os.path.getsize(path) - 31)
        os.remove(os.path.join(cell, "summary.json"))
        run_ok("run", study, "--out", out)
        check(rows_of(os.path.join(out, "killed")) == expected, "resume: a line that was cut short is made again")

    def one_runner_at_a_time():
        out = os.path.join(folder, "locked")
        process = started(study, out, "--set", "workload.count=100000")
        for _ in range(600):
            if size_of(out):
                break
            time.sleep(0.05)
        second = run("run", study, "--out", out)
        check(second.returncode == 2 and f"process {process.pid}" in second.stderr and second.stderr.count("\n") == 1, "lock: the second runner is told")
        process.send_signal(signal.SIGKILL)
        process.communicate()
        check(run("run", study, "--out", out, "--limit", 1).returncode == 0, "lock: it goes with its process")

    def full_disk():
        out = os.path.join(folder, "full")
        limit = max(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(whole) for name in names if name == "rounds.jsonl") // 2

        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        full = run("run", study, "--out", out, preexec_fn=small_files)
        check(full.returncode == 2 and "disk is full" in full.stderr.strip().splitlines()[-1], f"full disk: one line: {full.stderr[-300:]}")
        check(size_of(out) > limit // 2, "full disk: what was there is kept")
        run_ok("run", study, "--out", out)
        check(rows_of(os.path.join(out, "killed")) == expected, "full disk: with room again the study goes on")

    def other_weights_are_refused():
        out, other = os.path.join(folder, "weights"), os.path.join(folder, "other")
        own = make_random(folder, "own", seed=3)
        small = ("--set", f"model.target={own}", "--set", "sweep=~", "--set", "drafter.type=prompt_lookup", "--limit", 2)
        run_ok("run", study, "--out", out, *small)
        make_random(folder, "other", seed=4)
        shutil.copy(os.path.join(other, "model.safetensors"), os.path.join(own, "model.safetensors"))
        changed = run("run", study, "--out", out, *small)
        check(changed.returncode == 2 and "have changed since it was run" in changed.stderr and "--fresh" in changed.stderr, "resume: other weights")
        check(run("run", study, "--out", out, *small, "--fresh").returncode == 0, "resume: --fresh starts again")

    def shards_make_a_whole():
        out = os.path.join(folder, "shards")
        for shard in (1, 2, 3):
            run_ok("run", study, "--out", out, "--shard", f"{shard}/3")
        parts = [os.path.join(out, f"killed.shard-{shard}-of-3") for shard in (1, 2, 3)]
        partial = run_ok("merge", *parts[:2], "--out", os.path.join(out, "killed"))
        check("of 10 cells are complete" in partial and not partial.startswith("killed: 10"), "merge: says what is missing")
        check("killed: 10 of 10 cells are complete" in run_ok("merge", *parts, "--out", os.path.join(out, "killed")), "merge: all cells")
        check(rows_of(os.path.join(out, "killed")) == expected, "merge: three shards give the whole study")
        report = run_json("run", study, "--out", out, "--json")
        check([cell["name"] for cell in report["cells"]] == [cell["name"] for cell in first["cells"]], "merge: the study finds its cells")
        for wrong in ("0/3", "4/3", "x", "1/", "1/0"):
            bad = run("run", study, "--shard", wrong)
            check(bad.returncode == 2 and "--shard" in bad.stderr, f"--shard {wrong}: refused")
        check(run("merge", folder, "--out", os.path.join(folder, "nothing")).returncode == 2, "merge: a folder that is no study")

    def dry_run_writes_nothing():
        out = os.path.join(folder, "dry")
        said = run_ok("run", study, "--out", out, "--dry-run")
        check("10 cells in 2 groups" in said and "at most" in said and not os.path.exists(os.path.join(out, "killed")), "--dry-run: cells and a time")
        check(" 24 " in run_ok("run", study, "--out", whole, "--dry-run").replace("  ", " "), "--dry-run: what is on disk already")

    for test in (the_study_is_one_worth_killing, killed_three_times, a_finished_study_runs_nothing, torn_lines_are_dropped, one_runner_at_a_time,
                 full_disk, other_weights_are_refused, shards_make_a_whole, dry_run_writes_nothing):
        case(test)


with temporary_folder() as name:
    main(name)
finish()
