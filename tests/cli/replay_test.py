"""Record once, replay without the model: at temperature 0 every round is the live one, at temperature 1 acceptance agrees."""

import glob
import json
import math
import os
import resource
import shutil
import signal

from support import *

TARGET, DRAFT = os.path.join(SOURCE, "models/target"), os.path.join(SOURCE, "models/draft")

STUDY = """
study: %(name)s
model: {target: %(target)s, draft: %(draft)s, dtype: f32}
sampling: {temperature: %(temperature)s}
workload: %(workload)s
run: {threads: 1, warmup: 0, seed: %(seed)d, batch_size: %(batch)d}
baseline: none
%(rest)s
"""

PIPELINES = """
sweep:
  pipeline:
    - {drafter: {type: prompt_lookup, num_speculative_tokens: 4, whole_continuation: false}}
    - {drafter: {type: model, num_speculative_tokens: 4}}
    - {drafter: {type: model}, tree: {type: widths, widths: [2, 2, 1]}}
"""


def write_study(folder, name, **values):
    settings = {"name": name, "target": TARGET, "draft": DRAFT, "temperature": 0.0, "seed": 1, "batch": 1, "rest": "",
                "workload": "{type: generated, count: 2, max_new_tokens: 80}", **values}
    path = os.path.join(folder, name + ".yaml")
    with open(path, "w") as file:
        file.write(STUDY % settings)
    return path


def rows(cell, name):
    with open(os.path.join(cell["folder"], name)) as file:
        return [json.loads(line) for line in file]


def key(row):
    return row["conversation"], row["turn"], row.get("round")


def by_key(cell, name, fields):
    return {key(row): [row[field] for field in fields] for row in rows(cell, name)}


def replayed(distributions):
    return "{type: replay, probs: %s}" % distributions


def old_spellings(folder, out, record):
    """What was called `laws` before 0.2."""
    new = glob.glob(os.path.join(out, "record", "*", "probs.bin"))[0]
    old = os.path.join(folder, "aside", "old")
    os.makedirs(old)
    shutil.copy(new, os.path.join(old, "laws.bin"))
    study = write_study(folder, "old_key", target="{type: replay, laws: %s}" % old, workload="{type: recorded, limit: 2}", rest=PIPELINES)
    done = run("run", study, "--out", out)
    check(done.returncode == 0 and "old_key.yaml:" in done.stderr and "'laws' is now called 'probs'" in done.stderr, "replay: the key and file of old")
    refused = run("run", study, "--out", out, "--record", "laws")
    check(refused.returncode == 2 and "note: --record laws is now called --record probs" in refused.stderr, "record: the option of old")


def greedy(folder, target):
    out = os.path.join(folder, "results")
    record = write_study(folder, "record", target=target, batch=3)
    done = run_ok("run", record, "--out", out, "--record", "probs")
    check("distributions of" in done and "the mass of what was not stored is" in done, "record: says what was recorded, and the mass of the rest")
    live = run_json("run", write_study(folder, "live", target=target, rest=PIPELINES), "--out", out, "--json")["cells"]
    full_disk(record, os.path.join(folder, "full"))
    shutil.move(target, target + ".gone")
    distributions = os.path.join(out, "record")
    replay = write_study(folder, "replay", target=replayed(distributions), workload="{type: recorded}", rest=PIPELINES)
    again = run_json("run", replay, "--out", out, "--json")["cells"]
    for a, b in zip(live, again):
        fields = ["drafted", "scored", "depth", "accepted", "emitted"]
        rounds = by_key(a, "rounds.jsonl", fields)
        check(len(rounds) > 50 and rounds == by_key(b, "rounds.jsonl", fields), f"replay: {len(rounds)} rounds of {a['name']} are the live ones")
        check(by_key(a, "generations.jsonl", ["tokens", "finish"]) == by_key(b, "generations.jsonl", ["tokens", "finish"]),
              f"replay: {a['name']} emits the recorded tokens")
        check(b["tasks"]["overall"]["speedup"] is None and b["speedup_by_costs"] > 0, "replay: no measured speed, one by recorded costs")
    policies = "sweep: {pipeline.policy: [cost_model, goodput, thompson]}"
    planned = write_study(folder, "planned", target=replayed(distributions), workload="{type: recorded, limit: 5}",
                          rest="pipeline: {drafter: {type: model, num_speculative_tokens: 6}}\n" + policies)
    old_spellings(folder, out, record)
    first = [rows(cell, "rounds.jsonl") for cell in run_json("run", planned, "--out", out, "--json")["cells"]]
    second = [rows(cell, "rounds.jsonl") for cell in run_json("run", planned, "--out", out, "--json")["cells"]]
    check(first == second, "replay: policies that look at costs and at the clock decide the same again, times included")
    mistakes(folder, out, distributions)
    shutil.move(target + ".gone", target)


def full_disk(record, out):
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60000, resource.RLIM_INFINITY))

    done = run("run", record, "--out", out, "--limit", 1, "--record", "probs", "--record-top-k", 512, preexec_fn=small_files)
    last = done.stderr.strip().splitlines()[-1]
    left = [name for _, _, names in os.walk(out) for name in names if name.startswith("distributions")]
    check(done.returncode == 2 and "probs.bin: cannot be written" in last and not left, f"a full disk: {done.returncode} {last}")


def refused(study, out, message, what, *arguments):
    done = run("run", study, "--out", out, *arguments)
    check(done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, f"{what}: {done.stderr.strip()[-160:]}")


def mistakes(folder, out, distributions):
    def study(name, **values):
        return write_study(folder, name, **{"target": replayed(distributions), "workload": "{type: recorded}", **values})

    refused(study("warm", temperature=1.0), out, "the answers were drawn with temperature 0", "another temperature")
    refused(study("prompts", workload="{type: generated}"), out, "expected workload: {type: recorded}", "another workload")
    refused(study("nowhere", target=replayed(folder)), out, "holds no probs.bin", "a folder without distributions")
    refused(study("recycling", rest="pipeline: {drafter: token_recycling}"), out, "off the recorded path", "a drafter that needs logits")
    refused(study("again"), out, "replays a recording", "recording a replay", "--record", "probs")
    refused(study("what"), out, "expected probs", "recording what is not known", "--record", "noise")
    with open(os.path.join(folder, "cut.bin"), "wb") as file:
        file.write(b"forelaws\x01\x00\x00\x00")
    refused(study("cut", target=replayed(os.path.join(folder, "cut.bin"))), out, "cut.bin: ends within the header", "a file that was cut short")
    # The path is the command line's, so is the mistake.
    for value, message in (("cut.bin", "cut.bin: ends within the header"), ("gone.bin", "gone.bin")):
        refused(study("set"), out, "foretell: --set model.target.probs", f"--set model.target.probs={value}", "--set",
                f"model.target.probs={os.path.join(folder, value)}")
        refused(study("set"), out, message, f"--set model.target.probs={value}, in words", "--set", f"model.target.probs={os.path.join(folder, value)}")
    answers = study("answers", target="{type: replay, answers: %s, tokenizer: %s}" % (os.path.join(folder, "cut.bin"), os.path.join(TARGET, "tokenizer.json")))
    broken = os.path.join(folder, "broken.jsonl")
    with open(broken, "w") as file:
        file.write("")
    refused(answers, out, "foretell: --set model.target.answers: ", "answers of the command line", "--set", f"model.target.answers={broken}")
    refused(answers, out, "foretell: --set model.target.tokenizer: ", "a tokenizer of the command line", "--set", f"model.target.tokenizer={folder}/gone")
    refused(answers, out, "known: type, probs, answers, tokenizer, ", "a key that there is not", "--set", "model.target.prob=x")
    tokenizer = os.path.join(folder, "tokenizer.json")
    with open(tokenizer, "w") as file:
        file.write("{}")
    refused(study("tokens", target="{type: replay, probs: %s, tokenizer: %s}" % (distributions, tokenizer)), out, "is not the tokenizer of the recorded model",
            "another tokenizer")


def sampled(folder):
    out = os.path.join(folder, "sampled")
    workload = "{type: generated, count: 12, max_new_tokens: 80}"
    run_ok("run", write_study(folder, "record1", temperature=1.0, workload=workload), "--out", out, "--record", "probs")
    drafts = "pipeline: {drafter: {type: model, num_speculative_tokens: 4}}"
    live = run_json("run", write_study(folder, "live1", temperature=1.0, seed=5, workload=workload, rest=drafts), "--out", out, "--json")
    distributions = replayed(os.path.join(out, "record1"))
    replay = write_study(folder, "replay1", target=distributions, temperature=1.0, seed=9, workload="{type: recorded}", rest=drafts)
    again = run_json("run", replay, "--out", out, "--json")
    means, variance = [], 0
    for cells in (live, again):
        emitted = [row["emitted"] for row in rows(cells["cells"][0], "rounds.jsonl")]
        mean = sum(emitted) / len(emitted)
        means.append(mean)
        variance += sum((e - mean) ** 2 for e in emitted) / len(emitted) ** 2
    # Rounds of one answer resemble one another, so their scatter alone is too narrow a yardstick.
    error = 2 * math.sqrt(variance)
    check(abs(means[0] - means[1]) < 3 * error, f"temperature 1: {means[0]:.3f} tokens a round live, {means[1]:.3f} replayed, +- {error:.3f}")
    block = write_study(folder, "block", target=distributions, temperature=1.0, workload="{type: recorded}",
                        rest="pipeline: {drafter: {type: model}, verifier: block}")
    refused(block, out, "a replay can use: rejection, sample_then_match, sequential_one_hot", "a verifier that cannot be told")
    lossy = write_study(folder, "lossy", temperature=1.0, rest="pipeline: {verifier: typical}")
    refused(lossy, out, "lossy verifier 'typical'", "recording a lossy verifier", "--record", "probs")


with temporary_folder() as temporary:
    copied = os.path.join(temporary, "target")
    shutil.copytree(TARGET, copied)
    case(lambda: greedy(temporary, copied))
    case(lambda: sampled(temporary))
finish()
