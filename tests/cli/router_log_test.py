"""`foretell import router-log` and `foretell offload`: real routing logs of vLLM, and the routing of a study's own rounds."""

import json
import lzma
import os

from support import *

CONFIG = os.path.join(os.path.abspath(SOURCE), "configs/models/tiny-mixtral.json")
STUDY = """study: moe
model: {target: {type: random, config: %s}}
pipeline: {drafter: {type: self, router: {type: top_k, k: 1}, num_speculative_tokens: 3}}
workload: {type: random_ids, count: 3, length: 12, max_new_tokens: 12, ignore_eos: true}
run: {repeats: 1, warmup: 0, batch_size: %d}
"""


def real_logs(folder):
    """Measured unions of OLMoE and Qwen over windows of consecutive tokens, as they were counted by another program."""
    if not DATA:
        skip("real routing logs")
        return
    expected = {"olmoe-1b-7b_layer0_gsm8k": (64, 4471, 2048, {2: 14.07, 4: 23.53, 8: 36.17, 16: 48.92}),
                "qwen1.5-moe-a2.7b_layer0_gsm8k": (60, 2434, 16384, {2: 7.60, 4: 14.04, 8: 23.92})}
    for name, (experts, rows, warm_up, touched) in expected.items():
        path = os.path.join(folder, name + ".jsonl")
        with lzma.open(os.path.join(DATA, "data/router_logs", name + ".jsonl.xz")) as packed, open(path, "wb") as file:
            file.write(packed.read())
        options = ["--prefetch", "2", "--expert-mb", "12.6", "--bandwidth", "6", "--rows", "1,4", "--experts", str(experts)]
        log = json.loads(run_ok("import", "router-log", path, "--json", *options))
        check((log["experts"], log["rows"], log["warm_up"]) == (experts, rows, warm_up), f"{name}: {log['rows']} rows, {log['warm_up']} warm-up")
        found = {entry["tokens"]: entry for entry in log["touched"]}
        for tokens, value in touched.items():
            check(abs(found[tokens]["touched"] - value) < 0.006, f"{name}: {tokens} tokens touch {found[tokens]['touched']}")
            check(found[tokens]["touched"] < found[tokens]["uniform"], f"{name}: more than uniform routing")
            check(found[tokens]["fitted_experts"] < experts, f"{name}: as over {found[tokens]['fitted_experts']} experts")
        for row in log["cache"]:
            check(row["lru"]["hits"] <= row["belady"]["hits"], f"{name}: lru has more hits than Belady's bound")
            check(row["prefetched"]["waited"] < row["lru"]["waited"], f"{name}: prefetching saves no wait")
            check(row["prefetched"]["wait_ms_per_token"] < row["lru"]["wait_ms_per_token"], f"{name}: nor its time")
        text = run_ok("offload", path, *options)
        for word in ("MaxVio", "Belady's", "LRU hits", "MB/token", "wait, prefetched"):
            check(word in text, f"{name}: no {word} in\n{text}")


def own_rounds(folder, batch):
    study, out = os.path.join(folder, "study.yaml"), os.path.join(folder, f"results{batch}")
    with open(study, "w", encoding="utf-8") as file:
        file.write(STUDY % (CONFIG, batch))
    run_ok("run", study, "--out", out)
    results = os.path.join(out, "moe")
    with open(os.path.join(results, "study.json"), encoding="utf-8") as file:
        cell = json.load(file)["cells"][0]
    with open(os.path.join(results, cell["hash"], "rounds.jsonl"), encoding="utf-8") as file:
        rounds = [json.loads(line) for line in file]
    mine = [r for r in rounds if r["pipeline"] == "method" and r["repeat"] == 0]
    touched = [len(layer["load"]) for r in mine for layer in r["experts"]["layers"]]
    for r in mine:
        for layer in r["experts"]["layers"]:
            check(sum(rows for _, rows in layer["load"]) == 2 * r["scored"], f"{r['scored']} rows of two experts: {layer}")
            check(layer["rows"] == r["scored"] and layer["together"] >= len(layer["load"]), f"layer {layer}")
            check(batch > 1 or layer["together"] == len(layer["load"]), f"one sequence alone: {layer}")
    written = os.path.join(folder, f"report{batch}")
    run_ok("report", results, "--format", "all", "--out", written)

    def report_file(name):
        with open(os.path.join(written, name), encoding="utf-8") as file:
            return file.read()

    report = json.loads(report_file("report.json"))
    overall = report["cells"][0]["tasks"]["overall"]
    check(abs(overall["experts_touched"] - sum(touched) / len(touched)) < 1e-9, f"{overall['experts_touched']} experts a round")
    check(len(overall["experts"]["layers"]) > 0 and overall["expert_max_violation"] is not None, "no layers in the report")
    loads = [sum(dict(layer["load"]).get(e, 0) for r in mine for layer in r["experts"]["layers"] if layer["layer"] == 0) for e in range(8)]
    check(overall["experts"]["layers"][0]["load"][:8] == loads[:len(overall["experts"]["layers"][0]["load"])], "the heat map's loads")
    check("## Experts" in report_file("report.md"), "the report has no table of experts")
    check('id="experts"' in report_file("report.html"), "the page has no heat map")
    cache = json.loads(run_ok("offload", results, "--json", "--room", "2,4"))[0]["cache"]
    check([row["room"] for row in cache] == [2, 4], "rooms")
    check(cache[0]["lru"]["needed"] == sum(touched), f"{cache[0]['lru']['needed']} experts were needed")


def mistakes(folder):
    log = os.path.join(folder, "bad.jsonl")
    with open(log, "w", encoding="utf-8") as file:
        file.write('{"token_idx": 0, "layer": 0, "topk_ids": [3, 3]}\n')
    for arguments, words in ((("import", "router-log", log), ["bad.jsonl:1", "each of them once"]), (("offload", log, "--bandwidth", "3"), ["--expert-mb"]),
                             (("offload", os.path.join(folder, "none")), ["none"])):
        done = run(*arguments)
        lines = done.stderr.strip().split("\n")
        check(done.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words), f"{arguments}: {done.stderr.strip()[:200]}")


with temporary_folder() as temporary:
    for test in (real_logs, lambda folder: own_rounds(folder, 1), lambda folder: own_rounds(folder, 3), mistakes):
        case(lambda: test(temporary))
finish()
