"""What a run says about its own evidence: equal tokens, batches as samples, other work on the machine, how threads wait."""

import json
import os
import subprocess
import sys

from support import *

STUDY = """
study: evidence
model: {target: %s}
pipeline: {drafter: {type: prompt_lookup, num_speculative_tokens: 4, whole_continuation: false}}
workload: {type: random_ids, count: %d, length: 24, max_new_tokens: %d, ignore_eos: true}
run: {threads: 1, warmup: 0, repeats: 1}
"""


def study_file(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def without_waiting_settings():
    return {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")}


def bare(*arguments, env, **options):
    return subprocess.run([BIN, *map(str, arguments)], capture_output=True, text=True, timeout=300 * PATIENCE, env=env, **options)


def overall(cell):
    return cell["tasks"]["overall"]


def main(folder):
    target = make_random(folder, "target")

    def waiting_is_chosen_once():
        study = study_file(folder, "waiting.yaml", STUDY % (target, 1, 4))

        def manifest(env, out):
            done = bare("run", study, "--out", os.path.join(folder, out), "--json", env=env)
            check(done.returncode == 0, f"run without a test's environment: {done.stderr}")
            cell = json.loads(done.stdout[done.stdout.rindex("\n{"):])["cells"][0]
            return json.load(open(os.path.join(cell["folder"], "manifest.json"), encoding="utf-8"))["thread_waiting"]

        plain = without_waiting_settings()
        sanitized = "the library's own"  # where the program must come first in its process
        check(manifest(plain, "chosen") in ("GOMP_SPINCOUNT=1000", sanitized), "threads spin for a moment, and the manifest says so")
        check(manifest({**plain, "OMP_WAIT_POLICY": "passive"}, "said") == "OMP_WAIT_POLICY=passive", "what the user has set wins")
        check(manifest({**plain, "GOMP_SPINCOUNT": "7"}, "counted") == "GOMP_SPINCOUNT=7", "and a count of spins as well")
        wrong = bare("run", "no-such-study.yaml", env=plain)
        check(wrong.returncode == 2 and "no-such-study.yaml" in wrong.stderr, "exit codes and messages come through")
        check(bare("--version", env=plain).stdout.startswith("foretell "), "arguments come through")
        check(bare("list", "drafters", "--json", env={}).returncode == 0, "an empty environment will do")

    def one_batch_is_one_sample():
        study = study_file(folder, "batches.yaml", STUDY % (target, 6, 12))

        def cell(size):
            return run_json("run", study, "--out", os.path.join(folder, "batches"), "--json", "--set", f"run.batch_size={size}")["cells"][0]

        whole, halves, single = cell(6), cell(3), cell(1)
        check(overall(whole)["speedup_interval"] is None and overall(whole)["verdict"] is None
              and overall(whole)["speedup_units"] == "1 batch of 6 prompts" and "one batch" in overall(whole)["speedup_no_interval"],
              "a batch of all prompts has no interval")
        check(whole["performance"]["reason"].startswith("not judged: all 6 prompts ran in one batch, which is one sample; nothing is predicted"),
              f"why there is no verdict comes before why there is no prediction: {whole['performance']['reason']}")
        check(overall(halves)["speedup_samples"] == 2 and overall(halves)["speedup_units"] == "2 batches of 6 prompts"
              and overall(halves)["speedup_interval"] is None
              and overall(halves)["speedup_no_interval"] == "an interval needs at least 6 batches, there are 2 batches of 6 prompts",
              "two batches are two samples, too few for an interval")
        check(overall(single)["speedup_samples"] == 6 and overall(single)["speedup_units"] == "6 prompts", "prompts by themselves are samples")
        check(whole["performance"]["predicted"] is None and "nothing is predicted in batches of 6" in whole["performance"]["reason"],
              "nothing is predicted in batches")
        performance = single["performance"]
        check(performance["predicted"] is not None or "unreliable timing" in performance["reason"],  # beside other work
              f"one at a time is predicted: {performance['reason']}")
        out = run_ok("run", study, "--out", os.path.join(folder, "batches"), "--set", "run.batch_size=6")
        check("none (1 batch of 6 prompts)" in out, "the table says that there is no interval")

    def differing_tokens_are_a_finding():
        # Logits that are nearly tied under penalties in bfloat16: whether a machine tells them apart is up to its kernels; what is said of them is not.
        study = study_file(folder, "ties.yaml", """
study: ties
model: {target: %s, dtype: bf16}
pipeline: {drafter: {type: prompt_lookup, num_speculative_tokens: 8}}
sampling: {temperature: 0, repetition_penalty: 1.2, presence_penalty: -1}
workload: {type: prompts, prompts: [The boy walked to the, Once upon a time, The girl and the dog], max_new_tokens: 60, ignore_eos: true}
run: {threads: 1, warmup: 0}
""" % os.path.join(SOURCE, "models", "target"))
        results = os.path.join(folder, "ties")
        out = run_ok("run", study, "--out", results, "--json")
        cell = json.loads(out[out.rindex("\n{"):])["cells"][0]
        found = json.load(open(os.path.join(cell["folder"], "divergence.json"), encoding="utf-8"))
        same = overall(cell)["same_as_baseline"]
        check(cell["lossless"] and found["compared"] == 3 and found["same"] == round(3 * same), "every answer is compared")
        check(found["faults"] == 0 and found["ties"] == len(found["differences"]) == 3 - found["same"], f"what differs is a tie: {found['differences']}")
        check(all(d["gap"] <= d["eps"] and d["words"] in out for d in found["differences"]), "with its logits, in the run's own words")
        again = run_ok("run", study, "--out", results)
        check(all(d["words"] in again for d in found["differences"]), "a finished cell says the same")
        diff = run("diff", cell["folder"])
        check(diff.returncode == 0 and all(d["words"] in diff.stdout for d in found["differences"]), "so does diff")
        report = run_ok("report", os.path.join(results, "ties"))
        check(same == 1 or "same tokens" in report.lower(), "and the report")

    def a_fault_is_unmistakable():
        study = study_file(folder, "fault.yaml", STUDY % (target, 3, 12))
        results = os.path.join(folder, "fault")
        cell = run_json("run", study, "--out", results, "--json")["cells"][0]
        path = os.path.join(cell["folder"], "divergence.json")
        found = json.load(open(path, encoding="utf-8"))
        check(found["same"] == found["compared"] == 3, "a fault: none to begin with")
        found.update(same=2, faults=1, differences=[{"conversation": "2", "task": "prompts", "turn": 0, "repeat": 0, "position": 5, "a": 1, "b": 2, "best": 2,
                                                     "second": 3, "margin": 0.5, "gap": 0.9, "eps": 0.001, "tie": False, "words": "prompt 2 differs: NOT a tie"}])
        json.dump(found, open(path, "w", encoding="utf-8"))
        summary = os.path.join(cell["folder"], "summary.json")
        written = json.load(open(summary, encoding="utf-8"))
        written["tasks"]["overall"]["same_as_baseline"] = 2 / 3
        json.dump(written, open(summary, "w", encoding="utf-8"))
        out = run_ok("report", os.path.join(results, "evidence"))
        check("[damaged]" in out and summary in out and "67%" not in out, "report: numbers and differences that were written by hand are no evidence")
        make_older(cell["folder"])
        out = run_ok("report", os.path.join(results, "evidence"))
        check("67% (1 NOT EXPLAINED)" in out, "report: a fault stands in the table")
        notes = open(os.path.join(results, "evidence", "report.md"), encoding="utf-8").read()
        check("1 NOT EXPLAINED. prompt 2 differs: NOT a tie." in notes, "report: and in the notes")

    def others_on_the_machine_are_noticed():
        if not os.path.exists("/proc/self/schedstat"):
            return print("SKIPPED others on the machine: the kernel has no schedstat", flush=True)
        study = study_file(folder, "noise.yaml", STUDY % (target, 2, 100) + "sampling: {temperature: 0.0}\n")
        loop = "while True: pass"
        loops = [subprocess.Popen([sys.executable, "-c", loop]) for _ in range(3 * os.cpu_count())]
        try:
            done = run("run", study, "--out", os.path.join(folder, "noise"), "--json", "--set", "run.noise_gate=0.01", "--set", "run.noise_gate_repeats=1",
                       "--set", "run.noise_gate_pause=0.3", "--set", "run.repeats=8")
        finally:
            for process in loops:
                process.kill()
                process.wait()
        check(done.returncode == 0, f"a run beside others: {done.stderr}")
        cell = json.loads(done.stdout[done.stdout.rindex("\n{"):])["cells"][0]
        check("for processors that others had; once more (1 of 1)" in done.stderr, "noise gate: prompts are timed again, visibly")
        check(overall(cell)["baseline_contention"] > 0 or overall(cell)["contention"] > 0, "what threads waited is kept")
        check(overall(cell)["verdict"] not in ("faster", "slower") or max(overall(cell)["contention"], overall(cell)["baseline_contention"]) <= 0.1,
              "no verdict of speed beside others")
        rows = [json.loads(line) for line in open(os.path.join(cell["folder"], "generations.jsonl"), encoding="utf-8")]
        check(len(rows) == 2 * 2 * 8 and all("contention" in row for row in rows), "each prompt is kept once, with what it waited")

    for test in (waiting_is_chosen_once, one_batch_is_one_sample, differing_tokens_are_a_finding, a_fault_is_unmistakable,
                 others_on_the_machine_are_noticed):
        case(test)


with temporary_folder() as temporary:
    main(temporary)
finish()
