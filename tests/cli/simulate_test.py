"""`foretell simulate`: a line for each policy, costs as `predict` has them, the recorded n-gram arm, and every mistake as one line."""

import json
import lzma
import os
import tempfile

from support import *

DEVICES = ("--devices", os.path.join(SOURCE, "configs/hardware"))
LARGE = os.path.join(SOURCE, "configs/models/llama-1b.json")
SMALL = os.path.join(SOURCE, "configs/models/llama-135m.json")


def row(lengths, arm="x", number=1, **more):
    return {"id": number, "prompt_token_ids": [1, 2], "generated_token_ids": [3] * len(lengths), f"acc_{arm}": {"acc_len": lengths}, **more}


def write(folder, name, *rows):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in rows))
    return path


def simulate(*more):
    return run_json("simulate", "--json", *more)


def policies(folder):
    runs = write(folder, "runs.jsonl", *(row([1, 3, 2, 1, 5, 4, 3, 2, 1, 1], number=i) for i in range(8)))
    arm = simulate(runs, "--cost-ratio", "0.1", "--fixed", "1,4")["arms"][0]
    done = {entry["policy"]: entry for entry in arm["policies"]}
    check((arm["prompts"], arm["tokens"], arm["draft_tokens"]) == (8, 80, 4), f"what was simulated: {arm['prompts']} {arm['tokens']}")
    fixed = done["{type: fixed, num_speculative_tokens: 4}"]
    check(fixed["rounds"] == 8 * 4 and fixed["tokens"] == 80, f"rounds at 0, 1, 4 and 9: {fixed['rounds']}")
    check(abs(fixed["mean_accepted_length"]["value"] - 2.5) < 1e-9, "mean accepted length")
    # All prompts are alike, so the interval is no wider than rounding.
    low, high = fixed["mean_accepted_length"]["interval"]
    check(low <= 2.5 + 1e-9 and high >= 2.5 - 1e-9, "its interval")
    best = max(entry["speedup"]["value"] for entry in done.values() if "speedup" in entry)
    check(abs(done["oracle"]["speedup"]["value"] - best) < 1e-9, "no policy is faster than the oracle")
    check("distributions" in done["{type: svip}"]["unsupported"] and "head" in done["{type: specdecpp}"]["unsupported"], "what is not simulated says why")
    check(len(done) > 10, f"{len(done)} policies")
    out = run_ok("simulate", runs, "--cost-ratio", "0.1")
    check("oracle" in out and "not simulated: {type: svip}" in out, "the table")
    one = simulate(runs, "--cost-ratio", "0", "--policy", "{type: fixed, num_speculative_tokens: 2}")["arms"][0]["policies"]
    check([entry["policy"] for entry in one] == ["{type: fixed, num_speculative_tokens: 2}", "oracle"], "policies by name")
    check(simulate(runs, "--cost-ratio", "0", "--limit", "2")["arms"][0]["prompts"] == 2, "the first runs")


def costs(folder):
    """Every draft is accepted whole: the speed-up is `predict`'s for the same tokens of a step."""
    runs = write(folder, "whole.jsonl", row([4, 3, 2, 1] * 50, arm="eagle"))
    for source in ((), ("--draft-model", SMALL), ("--drafting-layer",)):
        got = simulate(runs, "--model", LARGE, "--hardware", "nvidia_A100", *DEVICES, *source, "--policy", "{type: fixed, num_speculative_tokens: 3}")
        measured = got["arms"][0]["policies"][0]
        expected = run_json("predict", "--model", LARGE, "--hardware", "nvidia_A100", *DEVICES, "--json", "--acceptance", "1", "--draft-tokens", "3", "--flash",
                            "--seq", int(got["mean_context"]), *(source or ("--drafting-layer",)))["rows"][0]
        if "--draft-model" not in source:  # a model's passes grow with the draft
            check(abs(measured["speedup"]["value"] / expected["speedup"] - 1) < 2e-3, f"{source}: {measured['speedup']['value']}, predicted {expected['speedup']}")
        else:
            check(abs(measured["speedup"]["value"] / expected["speedup"] - 1) < 5e-3, f"{source}: {measured['speedup']['value']}, predicted {expected['speedup']}")


def refused(name, words, *arguments):
    done = run("simulate", *arguments)
    lines = done.stderr.strip().split("\n")
    good = done.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words) and done.stdout == ""
    check(good, f"{name}: {done.returncode} {done.stderr.strip()[:160]}")


def mistakes(folder):
    good = write(folder, "good.jsonl", row([2, 1]))
    rate = ("--cost-ratio", "0.1")
    refused("no cost", ["--cost-ratio", "--hardware"], good)
    refused("both costs", ["either"], good, *rate, "--model", LARGE, "--hardware", "nvidia_A100", *DEVICES)
    refused("half a description", ["either"], good, "--model", LARGE)
    refused("a negative cost", ["--cost-ratio"], good, "--cost-ratio=-1")
    refused("a device that is not known", ["nvidia_Z"], good, "--model", LARGE, "--hardware", "nvidia_Z", *DEVICES)
    refused("two drafters", ["one of them"], good, "--model", LARGE, "--hardware", "nvidia_A100", *DEVICES, "--drafting-layer", "--draft-model", SMALL)
    refused("an arm that is not there", ["--arm", "'y'", "x"], good, *rate, "--arm", "y")
    refused("a deeper draft", ["--draft-tokens: 3"], good, *rate, "--draft-tokens", "3")
    refused("no draft", ["--draft-tokens"], good, *rate, "--draft-tokens", "0")
    refused("an unknown policy", ["--policy", "gone"], good, *rate, "--policy", "{type: gone}")
    refused("a policy without its file", ["specdecpp"], good, *rate, "--policy", "{type: specdecpp}")
    refused("a list of lengths", ["--fixed"], good, *rate, "--fixed", "1,,2")
    refused("no file", ["gone.jsonl"], os.path.join(folder, "gone.jsonl"), *rate)
    refused("an empty folder", ["no .jsonl"], tempfile.mkdtemp(dir=folder), *rate)
    refused("a compressed file", ["xz -dk"], write(folder, "a.xz", "x"), *rate)
    text = json.dumps(row([2, 1]))
    for name, line, words in (("truncated", text[:60], ["bad.jsonl:2"]), ("no JSON", "x\n", ["bad.jsonl:2"]), ("a list", "[1]\n", ["bad.jsonl:2", "object"]),
                              ("no arm", json.dumps({"id": 1, "prompt_token_ids": [1], "generated_token_ids": []}), ["bad.jsonl:2", "acc_NAME"]),
                              ("a length of 0", json.dumps(row([0])), ["bad.jsonl:2", "acc_len"]), ("a huge length", json.dumps(row([1 << 40])), ["acc_len"]),
                              ("a text for a length", json.dumps(row(["1"])), ["acc_len"]), ("no prompt", json.dumps({**row([1]), "prompt_token_ids": []}), ["prompt_token_ids"]),
                              ("a negative token", json.dumps({**row([1]), "generated_token_ids": [-1]}), ["generated_token_ids"])):
        refused(name, words, write(folder, "bad.jsonl", row([1]), line), *rate)
    refused("no position", ["no position"], write(folder, "none.jsonl", row([])), *rate)


def recorded_lookup(folder):
    if not DATA:
        return skip("the recorded n-gram arm of Llama-3.1-8B")
    share = {}
    for task in ("cnn", "gsm8k"):
        with lzma.open(os.path.join(DATA, f"data/runs_llama31_8b/combined_{task}.jsonl.xz")) as packed:
            with open(os.path.join(folder, f"{task}.jsonl"), "wb") as file:
                file.write(packed.read())
        arm = simulate(os.path.join(folder, f"{task}.jsonl"), "--arm", "ngram", "--cost-ratio", "0", "--policy", "{type: fixed, num_speculative_tokens: 5}")["arms"][0]
        share[task] = arm["lookup"]
        check(arm["lookup"]["share"] >= 0.998, f"prompt lookup has the recorded length at {100 * arm['lookup']['share']:.2f}% of the positions of {task}")
    check(share["cnn"]["positions"] == 96856 and share["gsm8k"]["positions"] == 49848, "all positions are compared")


def main():
    with tempfile.TemporaryDirectory() as folder:
        case(lambda: policies(folder))
        case(lambda: costs(folder))
        case(lambda: mistakes(folder))
    with tempfile.TemporaryDirectory() as folder:
        case(lambda: recorded_lookup(folder))
    finish()


main()
