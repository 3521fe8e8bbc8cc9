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
TIMES = ("_ns", "joules", "contention", "checksum")  # the checksum is over the times too


def hash_of_before(content):
    """What manifests had before XXH3: FNV-1a over words of 8 bytes, then over the length."""
    value = 0xcbf29ce484222325
    for at in range(0, len(content), 8):
        value = ((value ^ int.from_bytes(content[at:at + 8], "little")) * 0x100000001b3) % 2 ** 64
    return f"{((value ^ len(content)) * 0x100000001b3) % 2 ** 64:016x}"


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

    def a_lost_line_is_told_and_its_prompt_run_again():
        out = os.path.join(folder, "lost")
        shutil.copytree(whole, out)
        study_folder = os.path.join(out, "killed")
        cell = next(os.path.join(study_folder, name) for name in sorted(expected) if any(row["drafted"] for row in expected[name]["rounds.jsonl"]))
        path = os.path.join(cell, "rounds.jsonl")
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
        lost = next(i for i in range(len(lines) // 2, len(lines)) if json.loads(lines[i])["round"] == 2)
        prompt = json.loads(lines[lost])["conversation"]
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(lines[:lost] + lines[lost + 1:])
        said = run_ok("report", study_folder)
        check("[damaged]" in said and f"rounds.jsonl:{lost + 1}: prompt '{prompt}'" in said and "round 2 is missing" in said,
              "damage: report names the file, the line and the prompt")
        refused = run("compare", study_folder, os.path.join(whole, "killed"))
        check(refused.returncode == 2 and f"rounds.jsonl:{lost + 1}" in refused.stderr and refused.stderr.count("\n") == 1, "damage: compare refuses")
        before = {json.dumps([row["conversation"], row["turn"], row["repeat"], row["pipeline"]]): row
                  for row in map(json.loads, open(os.path.join(cell, "generations.jsonl"), encoding="utf-8"))}
        again = run("run", study, "--out", out)
        check(again.returncode == 0 and f"damaged, and run again: {path}:{lost + 1}: prompt '{prompt}'" in again.stderr, "damage: run says what it does")
        check(rows_of(study_folder) == expected, "damage: the cell is whole again")
        after = {json.dumps([row["conversation"], row["turn"], row["repeat"], row["pipeline"]]): row
                 for row in map(json.loads, open(os.path.join(cell, "generations.jsonl"), encoding="utf-8"))}
        changed = {json.loads(key)[0] for key in before if before[key] != after[key]}
        check(changed == {prompt}, f"damage: exactly that prompt is run again: {changed}")
        check("[damaged]" not in run_ok("report", study_folder), "damage: and the report has its numbers again")

    def a_lost_answer_and_old_rows():
        out = os.path.join(folder, "older")
        shutil.copytree(whole, out)
        cells = [os.path.join(out, "killed", name) for name in sorted(expected)]
        # As before there were checksums: readable, and a gap is still seen.
        for cell in cells:
            make_older(cell)
        path = os.path.join(cells[0], "generations.jsonl")
        with open(path, encoding="utf-8") as file:
            rows = file.readlines()
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(rows[1:])
        lost = json.loads(rows[0])
        again = run("run", study, "--out", out)

        def without_counts(cells):
            # Cells that were finished are not written again, so their rows stay as they were.
            return {cell: {name: [{key: value for key, value in row.items() if key not in ("rounds", "cell")} for row in rows] for name, rows in files.items()}
                    for cell, files in cells.items()}

        check(again.returncode == 0 and without_counts(rows_of(os.path.join(out, "killed"))) == without_counts(expected), "damage: a lost answer is run again")
        words = f"prompt '{lost['conversation']}', turn 0, repeat {lost['repeat']}, {lost['pipeline']}: its row in generations.jsonl is missing"
        check("damaged, and run again: " in again.stderr and words in again.stderr,
              f"damage: a lost answer is named: {again.stderr[:300]}")

    def a_lost_answer_is_named():
        out = os.path.join(folder, "answer")
        shutil.copytree(whole, out)
        study_folder = os.path.join(out, "killed")
        cell = sorted(expected)[0]
        path = os.path.join(study_folder, cell, "generations.jsonl")
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
        for what, kept in (("lost in the middle", lines[:5] + lines[6:]), ("cut in the middle", lines[:5] + [lines[5][:50] + "\n"] + lines[6:]),
                           ("lost at the end", lines[:-1]), ("cut at the end", lines[:-1] + [lines[-1][:50]]),
                           ("there twice", lines + [lines[-1]])):
            row = json.loads(lines[5] if "middle" in what else lines[-1])
            prompt = f"prompt '{row['conversation']}', turn 0, repeat {row['repeat']}, {row['pipeline']}: "
            shutil.rmtree(os.path.dirname(path))
            shutil.copytree(os.path.join(whole, "killed", cell), os.path.dirname(path))
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(kept)
            said = run_ok("report", study_folder)
            check("[damaged]" in said and prompt in said and path[:-len("generations.jsonl")] in said, f"damage: report names the answer that is {what}")
            if "cut" in what:
                continue  # as what is lost; a run takes a while
            again = run("run", study, "--out", out)
            check(again.returncode == 0 and prompt in again.stderr and "and run again: " in again.stderr, f"damage: run names the answer that is {what}")
            check(rows_of(study_folder) == expected and "[damaged]" not in run_ok("report", study_folder), f"damage: an answer {what} is run again")
        # A prompt that has left no row at all.
        for name in ("generations.jsonl", "rounds.jsonl"):
            path = os.path.join(study_folder, cell, name)
            with open(path, encoding="utf-8") as file:
                kept = [line for line in file if json.loads(line)["conversation"] != "7"]
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(kept)
        said = run_ok("report", study_folder)
        check("[damaged]" in said and "generations, " in said and "are there" in said, "damage: report counts what is there of a lost prompt")
        again = run("run", study, "--out", out)
        check("missing, and run again: prompt '7'" in again.stderr and rows_of(study_folder) == expected, "damage: run names a lost prompt")

    def records_belong_to_their_cell():
        out = os.path.join(folder, "swapped")
        shutil.copytree(whole, out)
        study_folder = os.path.join(out, "killed")
        one, other = (os.path.join(study_folder, name) for name in sorted(expected)[:2])
        for name in ("generations.jsonl", "rounds.jsonl", "summary.json", "divergence.json"):
            if os.path.exists(os.path.join(other, name)):
                shutil.copy(os.path.join(other, name), os.path.join(one, name))
        words = f"is of the cell {os.path.basename(other)}, the folder of {os.path.basename(one)}"
        said = run_ok("report", study_folder)
        check(said.count("[damaged]") >= 1 and os.path.join(one, "generations.jsonl") in said and words in said, "evidence: report finds another cell's records")
        for command in (("compare", study_folder, os.path.join(whole, "killed")), ("diff", one)):
            done = run(*command)
            check(done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, f"evidence: {command[0]} finds another cell's records")
        merged = run("merge", study_folder, "--out", os.path.join(out, "merged"))
        check("9 of 10 cells complete" in merged.stdout and words in merged.stderr, f"evidence: merge finds them: {merged.stdout} {merged.stderr}")
        healed = run("merge", study_folder, os.path.join(whole, "killed"), "--out", os.path.join(out, "healed"))
        check("10 of 10 cells complete" in healed.stdout and healed.stderr == "", "evidence: merge takes the cell that is whole")
        again = run("run", study, "--out", out)
        check(again.returncode == 0 and words in again.stderr and rows_of(study_folder) == expected, "evidence: run makes the cell's own records again")

    def edited_numbers_are_not_shown():
        out = os.path.join(folder, "edited")
        shutil.copytree(whole, out)
        study_folder = os.path.join(out, "killed")
        path = os.path.join(study_folder, sorted(expected)[0], "summary.json")
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        content["tasks"]["overall"]["tokens_per_second"] = 98127.25
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
        for words, change in (("was changed after it was written", None), ("has no checksum", "checksum")):
            if change:
                del content[change]
                with open(path, "w", encoding="utf-8") as file:
                    json.dump(content, file, indent=2)
            said = run_ok("report", study_folder)
            check("[damaged]" in said and "98127" not in said and f"{path}: {words}" in said, "evidence: report shows no edited number")
            for name in ("report.md", "report.csv", "report.json", "report.html"):
                check("98127" not in open(os.path.join(study_folder, name), encoding="utf-8").read(), f"evidence: nor does {name}")
            done = run("compare", study_folder, os.path.join(whole, "killed"))
            check(done.returncode == 2 and f"{path}: {words}" in done.stderr and done.stderr.count("\n") == 1, "evidence: compare refuses an edited summary")
            merged = run("merge", study_folder, "--out", os.path.join(out, "merged"))
            check("9 of 10 cells complete" in merged.stdout and words in merged.stderr, "evidence: merge tells of an edited summary")
            shutil.rmtree(os.path.join(out, "merged"))
        again = run("run", study, "--out", out)
        check(again.returncode == 0 and "damaged, and made again from the records: " + path in again.stderr, f"evidence: run makes it again: {again.stderr[-300:]}")
        check(rows_of(study_folder) == expected and "[damaged]" not in run_ok("report", study_folder), "evidence: and the records stay")

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
        # Two flipped signs, in the top bits of two words of 8 bytes.
        path = os.path.join(own, "model.safetensors")
        with open(path, "rb") as file:
            weights = bytearray(file.read())
        for at in (len(weights) - 1, len(weights) - 801):
            weights[at] ^= 0x80
        with open(path, "wb") as file:
            file.write(weights)
        flipped = run("run", study, "--out", out, *small)
        check(flipped.returncode == 2 and "have changed since it was run" in flipped.stderr, "resume: two flipped signs")
        # A manifest with the hashes of before is gone on with, and that is said.
        for at in (len(weights) - 1, len(weights) - 801):
            weights[at] ^= 0x80
        with open(path, "wb") as file:
            file.write(weights)
        cell = next(os.path.join(out, "killed", name) for name in os.listdir(os.path.join(out, "killed")) if len(name) == 16)
        manifest = json.load(open(os.path.join(cell, "manifest.json"), encoding="utf-8"))
        for name in manifest["target"]["files"]:
            with open(os.path.join(own, name), "rb") as file:
                manifest["target"]["files"][name] = hash_of_before(file.read())

        def write_manifest():
            with open(os.path.join(cell, "manifest.json"), "w", encoding="utf-8") as file:
                json.dump(manifest, file)

        write_manifest()
        old = run("run", study, "--out", out, *small)
        check(old.returncode == 0 and "the hashes of an older Foretell" in old.stderr, f"resume: old hashes: {old.stderr[-300:]}")
        manifest["target"]["files"]["model.safetensors"] = "0" * 16
        write_manifest()
        check(run("run", study, "--out", out, *small).returncode == 2, "resume: an old hash of other weights")

    def shards_make_a_whole():
        out = os.path.join(folder, "shards")
        for shard in (1, 2, 3):
            run_ok("run", study, "--out", out, "--shard", f"{shard}/3")
        parts = [os.path.join(out, f"killed.shard-{shard}-of-3") for shard in (1, 2, 3)]
        partial = run_ok("merge", *parts[:2], "--out", os.path.join(out, "killed"))
        check("of 10 cells complete" in partial and not partial.startswith("killed: 10"), "merge: says what is missing")
        check("killed: 10 of 10 cells complete" in run_ok("merge", *parts, "--out", os.path.join(out, "killed")), "merge: all cells")
        check(rows_of(os.path.join(out, "killed")) == expected, "merge: three shards give the whole study")
        report = run_json("run", study, "--out", out, "--json")
        check([cell["name"] for cell in report["cells"]] == [cell["name"] for cell in first["cells"]], "merge: the study finds its cells")
        for wrong in ("0/3", "4/3", "x", "1/", "1/0"):
            bad = run("run", study, "--shard", wrong)
            check(bad.returncode == 2 and "--shard" in bad.stderr, f"--shard {wrong}: refused")
        check(run("merge", folder, "--out", os.path.join(folder, "nothing")).returncode == 2, "merge: a folder that is no study")

    def shards_of_other_weights_are_refused():
        out, own = os.path.join(folder, "mixed"), make_random(folder, "mixed-model", seed=5)
        small = ("--set", f"model.target={own}", "--set", "sweep={drafter.type: [none, prompt_lookup]}", "--limit", 1, "--out", out)
        parts = [os.path.join(out, f"killed.shard-{shard}-of-2") for shard in (1, 2)]
        run_ok("run", study, *small, "--shard", "1/2")
        run_ok("run", study, *small, "--shard", "2/2")
        check("2 of 2 cells complete" in run_ok("merge", *parts, "--out", os.path.join(out, "good")), "merge: of the same weights")
        shutil.rmtree(parts[1])
        make_random(folder, "mixed-model", seed=6)
        run_ok("run", study, *small, "--shard", "2/2")
        refused = run("merge", *parts, "--out", os.path.join(out, "bad"))
        check(refused.returncode == 2 and refused.stderr.count("\n") == 1 and all(part in refused.stderr for part in parts)
              and "model.safetensors" in refused.stderr, f"merge: of other weights: {refused.stderr}")
        # The same cells in one folder: the report refuses too.
        mixed = os.path.join(out, "by-hand")
        shutil.copytree(parts[0], mixed)
        for name in os.listdir(parts[1]):
            if len(name) == 16:
                shutil.copytree(os.path.join(parts[1], name), os.path.join(mixed, name))
        by_hand = run("report", mixed)
        check(by_hand.returncode == 2 and "model.safetensors" in by_hand.stderr and by_hand.stderr.count("\n") == 1, "report: of other weights")
        # Another revision is refused where nobody has asked for it; another machine is a note.
        shutil.rmtree(parts[1])
        make_random(folder, "mixed-model", seed=5)
        run_ok("run", study, *small, "--shard", "2/2")
        path = next(os.path.join(parts[1], name, "manifest.json") for name in os.listdir(parts[1]) if len(name) == 16)
        manifest = json.load(open(path, encoding="utf-8"))
        manifest["cpu"]["model"] = "Another processor"
        manifest["foretell"]["revision"] = "another"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(manifest, file)
        revision = run("merge", *parts, "--out", os.path.join(out, "revision"))
        check(revision.returncode == 2 and "revision of Foretell" in revision.stderr, "merge: of another revision")
        forced = run("merge", *parts, "--out", os.path.join(out, "revision"), "--any-revision")
        check(forced.returncode == 0 and "another processor" in forced.stderr, "merge --any-revision: and the machines are noted")

    def dry_run_writes_nothing():
        out = os.path.join(folder, "dry")
        said = run_ok("run", study, "--out", out, "--dry-run")
        check("10 cells in 2 groups" in said and "at most" in said and not os.path.exists(os.path.join(out, "killed")), "--dry-run: cells and a time")
        check(" 24 " in run_ok("run", study, "--out", whole, "--dry-run").replace("  ", " "), "--dry-run: what is on disk already")

    for test in (the_study_is_one_worth_killing, killed_three_times, a_finished_study_runs_nothing, torn_lines_are_dropped,
                 a_lost_line_is_told_and_its_prompt_run_again, a_lost_answer_and_old_rows, a_lost_answer_is_named, records_belong_to_their_cell,
                 edited_numbers_are_not_shown, one_runner_at_a_time, full_disk, other_weights_are_refused,
                 shards_make_a_whole, shards_of_other_weights_are_refused, dry_run_writes_nothing):
        case(test)


with temporary_folder() as name:
    main(name)
finish()
