"""Every command end to end on models made here: no outside data."""

import json
import os
import re
import signal
import subprocess
import time

from support import *

STUDY = """
study: small
model: {target: %(target)s, draft: %(draft)s}
workload: {type: random_ids, count: 3, length: 24, max_new_tokens: 20, ignore_eos: true}
run: {repeats: 2, warmup: 1}
sweep:
  pipeline.drafter: [{type: none}, {type: prompt_lookup, num_speculative_tokens: 3}, {type: model, num_speculative_tokens: 3},
                     {type: oracle, acceptance_rate: 0.8, num_speculative_tokens: 3}]
"""


def generate(model, *more):
    return run_json("generate", "--model", model, "--ids", "5 6 7 5 6 7 5 6", "--max-new-tokens", 40, "--ignore-eos", "--json", *more)


def main(folder):
    target = make_random(folder, "target")
    draft = make_random(folder, "draft", num_hidden_layers=1)
    plain = generate(target)

    def plain_generation():
        check(len(plain["token_ids"]) == 40 and plain["rounds"] == 40 and plain["mean_acceptance_length"] == 1.0, "generate: one token a round")
        check(plain["prompt_ids"] == [5, 6, 7, 5, 6, 7, 5, 6] and plain["text"] is None, "generate: ids only, no tokenizer needed")
        check(plain["tokens_per_second"] > 0, "generate: tokens per second")

    def speculation_is_invisible():
        own = generate(target, "--draft-model", target)
        check(own["token_ids"] == plain["token_ids"] and own["mean_acceptance_length"] > 4, "generate: the target as its own draft, all accepted")
        other = generate(target, "--draft-model", draft, "--set", "drafter.num_speculative_tokens=3")
        check(other["token_ids"] == plain["token_ids"], "generate: another draft model, the same tokens")
        lookup = generate(target, "--drafter", "prompt_lookup", "--set", "drafter.num_speculative_tokens=2")
        check(lookup["token_ids"] == plain["token_ids"] and lookup["rounds"] <= plain["rounds"], "generate: prompt lookup, the same tokens")
        tree = generate(target, "--draft-model", draft, "--set", "tree.type=widths", "--set", "tree.widths=[3, 2]", "--set",
                        "drafter.draft_sample_method=top_k")
        check(tree["token_ids"] == plain["token_ids"], "generate: a tree, the same tokens")

    def sampling_is_repeatable():
        a, b, c = (generate(target, "--temperature", "0.9", "--seed", seed)["token_ids"] for seed in (1, 1, 2))
        check(a == b and a != c, "generate: the seed decides what is drawn")

    def rounds_are_shown():
        out = run_ok("generate", "--model", target, "--ids", "5 6 7", "--max-new-tokens", 12, "--draft-model", draft, "--ignore-eos", "--show-rounds")
        check("round 0:" in out and "score" in out and "ms" in out and ("rejected" in out or "accepted" in out), "generate --show-rounds: a chain")
        check("correction" in out or "bonus" in out, "generate --show-rounds: the target's own token")
        check("\033[" not in out, "no colours in a pipe")

    def help_is_found():
        top = run("--help")
        check(run().stdout == run("help").stdout == top.stdout and run().returncode == 0, "foretell alone, or with help, explains")
        check(run_ok("help", "run") == run_ok("run", "--help") and "Usage: foretell run [OPTIONS]" in run_ok("help", "run"), "help of a command")
        check("Usage: foretell bench model" in run_ok("help", "bench", "model"), "help of a command below one")
        wrong = run("help", "genrate")
        check(wrong.returncode == 2 and "unknown command 'genrate' (did you mean 'generate'?)" in wrong.stderr, f"help of none: {wrong.stderr.strip()[:120]}")
        check("0: all" in run_ok("help", "run"), "run --limit: what 0 means")
        sweep = run("generate", "--model", target, "--ids", "1", "--set", "sweep.drafter.type=[none, prompt_lookup]")
        check(sweep.returncode == 2 and "`foretell run STUDY.yaml --set 'sweep.drafter.type=[none, prompt_lookup]'` sweeps" in sweep.stderr,
              f"generate names the command that sweeps: {sweep.stderr.strip()[:200]}")
        one = run_ok("generate", "--model", target, "--ids", "5 6 7", "--max-new-tokens", 1, "--json") and run(
            "generate", "--model", target, "--ids", "5 6 7", "--max-new-tokens", 1).stderr
        check("1 token in 1 round," in one, f"one is no plural: {one.strip()}")

    def stop_token_ends():
        stop = plain["token_ids"][7]
        first = plain["token_ids"].index(stop)
        with open(os.path.join(target, "generation_config.json"), "w") as file:
            json.dump({"eos_token_id": [stop]}, file)
        short = run_json("generate", "--model", target, "--ids", "5 6 7 5 6 7 5 6", "--max-new-tokens", 40, "--json", "--draft-model", target)
        os.remove(os.path.join(target, "generation_config.json"))
        check(short["token_ids"] == plain["token_ids"][:first + 1], "generate: ends at the stop token, which is emitted")

    def score_writes_logits():
        ids, out = os.path.join(folder, "ids.safetensors"), os.path.join(folder, "logits.safetensors")
        row = plain["prompt_ids"] + plain["token_ids"]
        write_safetensors(ids, {"input_ids": ("I64", [2, len(row)], row + row[::-1])})
        run_ok("score", "--model", target, "--ids-file", ids, "--out", out)
        dtype, shape, logits = read_safetensors(out)["logits"]
        check(dtype == "F32" and shape == [2, len(row), 96], "score: shape and type")
        argmaxes = [max(range(96), key=lambda v: logits[96 * t + v]) for t in range(len(row))]
        check(argmaxes[7:-1] == plain["token_ids"], "score: argmaxes are what generate emits")

    def study_runs():
        file, results = os.path.join(folder, "study.yaml"), os.path.join(folder, "results")
        with open(file, "w") as out:
            out.write(STUDY % {"target": target, "draft": draft})
        check(run_ok("check", file) == "ok: 4 cells\n", "check: ok")
        study = run_json("run", file, "--out", results, "--json")
        cells = {cell["settings"]["pipeline.drafter"]["type"]: cell for cell in study["cells"]}
        overall = {name: cell["tasks"]["overall"] for name, cell in cells.items()}
        check(study["study"] == "small" and len(cells) == 4, "run: study and cells")
        check(overall["none"]["mean_acceptance_length"] == 1.0 and overall["none"]["speedup"] == 1.0, "run: the baseline")
        check(overall["oracle"]["mean_acceptance_length"] > 1.8 and overall["oracle"]["speedup"] is not None, "run: the oracle knows the baseline")
        check(all(o["tokens"] == 60 and o["tokens_per_second"] > 0 for o in overall.values()), "run: tokens and speed")
        check(all(overall[n]["same_as_baseline"] == 1.0 for n in ("prompt_lookup", "model", "oracle")), "run: all drafters give the baseline's tokens")
        check(all(cell["tasks"]["overall"] == json.load(open(os.path.join(cell["folder"], "summary.json")))["tasks"]["overall"]
                  for cell in cells.values()), "run: what is printed is what was written")
        names = set(os.listdir(cells["model"]["folder"]))
        check({"config.resolved.yaml", "manifest.json", "rounds.jsonl", "generations.jsonl", "summary.json"} <= names, "run: the files of a cell")
        limited = run_json("run", file, "--out", results, "--json", "--limit", 1, "--set", "drafter.type=none", "--set", "sweep=~")
        check(len(limited["cells"]) == 1 and limited["cells"][0]["tasks"]["overall"]["requests"] == 1, "run: --limit and --set")

    def differences_are_judged():
        results = os.path.join(folder, "diffed")
        study = os.path.join(folder, "diffed.yaml")
        with open(study, "w", encoding="utf-8") as file:
            file.write(STUDY % {"target": target, "draft": draft})
        run_ok("run", study, "--out", results)
        whole = os.path.join(results, "small")
        same = run("diff", whole)
        check(same.returncode == 0 and same.stdout.count("0 differ and are not explained") == 3, "diff: every cell of a study")
        cell = next(os.path.join(whole, name) for name in sorted(os.listdir(whole)) if os.path.isdir(os.path.join(whole, name))
                    if '"pipeline":"baseline"' in open(os.path.join(whole, name, "generations.jsonl"), encoding="utf-8").read())
        path = os.path.join(cell, "generations.jsonl")
        rows = [json.loads(line) for line in open(path, encoding="utf-8")]
        changed = next(row for row in rows if row["pipeline"] == "method")
        changed["tokens"][5] = (changed["tokens"][5] + 1) % 100

        def write_rows():
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)

        write_rows()
        damaged = run("diff", cell)
        check(damaged.returncode == 2 and "generations.jsonl:" in damaged.stderr and "checksum" in damaged.stderr, "diff: a changed row is damage")
        make_older(cell)
        bad = run("diff", cell)
        check(bad.returncode == 1 and "NOT explained by noise" in bad.stdout and "token 5" in bad.stdout, "diff: a wrong token is found")
        check(json.loads(run("diff", cell, "--json").stdout)["differences"][0]["position"] == 5, "diff: as JSON")
        none = run("diff", folder)
        check(none.returncode == 2 and "neither the folder of a cell" in none.stderr, "diff: a folder that is none")

    def weights_of_8_bits():
        study = os.path.join(folder, "int8.yaml")
        with open(study, "w", encoding="utf-8") as file:
            file.write("""
study: int8
model: {target: %s}
pipeline: {drafter: {type: prompt_lookup, num_speculative_tokens: 3, whole_continuation: false}}
workload: {type: random_ids, count: 2, length: 24, max_new_tokens: 20, ignore_eos: true}
sweep: {model.dtype: [f32, int8, bf16]}
""" % target)
        results = os.path.join(folder, "int8_results")
        done = run_json("run", study, "--out", results, "--json")
        cells = {cell["settings"]["model.dtype"]: cell for cell in done["cells"]}
        read = {name: json.load(open(os.path.join(cell["folder"], "summary.json")))["performance"]["bytes_per_token"] for name, cell in cells.items()}
        check(0.25 * read["f32"] < read["int8"] < 0.5 * read["f32"] and 0.45 * read["f32"] < read["bf16"] < 0.55 * read["f32"],
              f"int8: a byte a weight is read, the cache keeps the checkpoint's numbers: {read}")
        settled = json.load(open(os.path.join(cells["f32"]["folder"], "summary.json")))["performance"]["memory"]["caches"]
        small = run_json("run", study, "--set", "sweep=~", "--set", "model.kv_dtype=int8", "--out", os.path.join(folder, "int8_cache_results"), "--json")
        caches = json.load(open(os.path.join(small["cells"][0]["folder"], "summary.json")))["performance"]["memory"]["caches"]
        check(0.25 * settled < caches < 0.5 * settled, f"kv_dtype int8: a cache of a byte a number and its scales: {caches} of {settled} bytes")
        check(all(cell["tasks"]["overall"]["same_as_baseline"] == 1.0 for name, cell in cells.items() if name != "bf16"), "int8: drafting changes no token")
        judged = run("diff", cells["int8"]["folder"])
        check(judged.returncode == 0 and "0 differ and are not explained" in judged.stdout, "int8: diff loads the weights that the run had")

    def lossy_decoding_is_measured():
        study, results = os.path.join(folder, "lossy.yaml"), os.path.join(folder, "lossy_results")
        with open(study, "w") as file:
            file.write("""
study: lossy
model: {target: %s, draft: %s}
pipeline: {drafter: {type: model, num_speculative_tokens: 3}}
workload: {type: random_ids, count: 3, length: 24, max_new_tokens: 20, ignore_eos: true}
sweep: {sampling.temperature: [0.0, 1.0], pipeline.verifier: [{type: rejection}, {type: synthetic, acceptance_rate: 0.9}]}
""" % (target, draft))
        out = run_ok("run", study, "--out", results, "--json")
        cells = {cell["name"]: cell for cell in json.loads(out[out.index("\n{") + 1:])["cells"]}
        table = out[:out.index("\n{")]
        check("same as greedy" in table and "ROUGE-L to greedy" in table and "perplexity" in table, "lossy: the table has the columns of quality")
        greedy = {name: cell["tasks"]["overall"] for name, cell in cells.items() if cell["settings"]["sampling.temperature"] == 0}
        (exact,) = [s for name, s in greedy.items() if "rejection" in name]
        (forced,) = [s for name, s in greedy.items() if "synthetic" in name]
        check(exact["same_as_greedy"] == 1 and exact["greedy_rouge_l"] == 1 and exact["perplexity"] == exact["baseline_perplexity"],
              "lossy: a lossless greedy cell is the target's greedy text")
        check(forced["same_as_greedy"] < 1 and forced["greedy_rouge_l"] < 1 and forced["perplexity"] > exact["perplexity"],
              "lossy: forced acceptance is seen in every column")
        drawn = [cell["tasks"]["overall"] for cell in cells.values() if cell["settings"]["sampling.temperature"] == 1]
        check(all(s["same_as_greedy"] < 1 and s["perplexity"] > exact["perplexity"] for s in drawn), "lossy: drawn text is compared with greedy text")

        folders = [cell["folder"] for cell in cells.values()]
        for name in folders:
            with open(os.path.join(name, "quality.jsonl")) as file:
                check(len(list(file)) == 6, "lossy: quality.jsonl has a row a generation, of either pipeline")
        never = run_json("run", study, "--out", results, "--json", "--limit", 1, "--set", "run.quality=never")
        check(all(cell["tasks"]["overall"]["perplexity"] is None for cell in never["cells"]), "run.quality: never")

    def interrupt_keeps_what_is_done():
        file, results = os.path.join(folder, "study.yaml"), os.path.join(folder, "interrupted")
        process = subprocess.Popen([BIN, "run", file, "--out", results, "--set", "workload.count=100000"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        written = lambda: [os.path.join(at, n) for at, _, names in os.walk(results) for n in names if n == "generations.jsonl"]
        for _ in range(600):
            if any(os.path.getsize(path) for path in written()):
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        check(process.returncode == 130 and "interrupted" in err and "requests" in out, "run: Ctrl-C ends cleanly with 130 and a table")
        summaries = [os.path.join(at, n) for at, _, names in os.walk(results) for n in names if n == "summary.json"]
        check(len(summaries) == 4 and all(json.load(open(path))["complete"] is False for path in summaries), "run: an interrupted cell says so")

    def lists():
        everything = json.loads(run_ok("list", "--json"))
        keys = {"kind", "name", "summary", "lossless", "state", "parameters"}
        check(all(keys <= set(entry) for entry in everything), "list: the keys")
        check({"drafter", "verifier", "policy", "tree"} <= {entry["kind"] for entry in everything}, "list: the kinds")
        drafters = json.loads(run_ok("list", "drafters", "--json"))
        check({"none", "model", "prompt_lookup", "oracle"} <= {entry["name"] for entry in drafters}, "list drafters")
        check(all({"name", "type", "default", "doc"} <= set(p) for entry in drafters for p in entry["parameters"]), "list: parameters")
        rejection = [entry for entry in json.loads(run_ok("list", "verifiers", "--json")) if entry["name"] == "rejection"]
        check(len(rejection) == 1 and rejection[0]["lossless"] is True, "list verifiers: rejection is lossless")
        check("prompt_lookup" in run_ok("list"), "list: as text")

    def bench():
        report = run_json("bench", "model", "--model", target, "--rows", "1,4", "--context", 16, "--json")
        check(report["read_bandwidth_gbs"] > 0 and [row["rows"] for row in report["rows"]] == [1, 4], "bench model: rows")
        check(all(row["median_ms"] > 0 and row["gbs"] > 0 for row in report["rows"]), "bench model: medians")
        check("cache_rounding" not in report, "bench model: no int8 cache was asked for")
        report = run_json("bench", "model", "--model", target, "--rows", "1", "--context", 16, "--kv-dtype", "int8", "--json")
        error = report["cache_rounding"]
        check(0 < error["mean"] < error["largest"] < error["spread"] and 0 <= error["kl"] < 0.1, f"bench model: an int8 cache: {error}")

    def bench_of_verification():
        report = run_json("bench", "verify", "--model", target, "--nodes", 12, "--context", 8, "--repeats", 1, "--json")
        rows = {row["verifier"]: row for row in report["rows"]}
        check(report["forward_ms"] > 0 and report["vocab"] == 96 and report["depth"] >= 2, "bench verify: the tree and its forward")
        check(rows["rejection"]["greedy_ms"] > 0 and rows["rejection"]["sampled_ms"] > 0 and rows["block"]["greedy_ms"] is None,
              "bench verify: verifiers of trees have times, those of chains none")
        wrong = run("bench", "verify", "--model", target, "--verifier", "rejektion")
        check(wrong.returncode == 2 and "rejection" in wrong.stderr, "bench verify: an unknown verifier")

    def bench_of_the_machine():
        device = os.path.join(folder, "machine.yaml")
        report = run_json("bench", "machine", "--seconds", 0, "--largest", 64, "--threads", 1, "--out", device, "--name", "mine", "--json")
        reads = [read["bytes_per_second"] for read in report["reads"]]
        check(len(reads) == 6 and report["reads"][-1]["bytes"] == 64 << 20 and min(reads) > 0, f"bench machine: working sets: {reads}")
        check([peak["format"] for peak in report["peaks"]] == ["fp32", "bf16", "int8"] and all(peak["matrix_product"] for peak in report["peaks"][:2]),
              f"bench machine: peaks: {report['peaks']}")
        check(report["parallel_regions"][0]["threads"] == 1, "bench machine: parallel regions")
        cost = run_json("roofline", "--model", target, "--hardware", device, "--w-bits", 32, "--a-bits", 32, "--json")
        check(cost["total"]["decode"]["inference_time"] > 0, "bench machine: the file is a device for roofline")
        refused = run("bench", "machine", "--largest", 1)
        check(refused.returncode == 2 and "--largest" in refused.stderr, "bench machine: a working set that says nothing")

    def bench_of_drafting():
        report = run_json("bench", "drafter", "--context", 200, "--tokens", 40, "--repeats", 2, "--json")
        rows = {row["drafter"]: row for row in report["rows"]}
        measured = [name for name, row in rows.items() if "round_us" in row]
        check({"none", "prompt_lookup", "suffix_automaton", "suffix_decoding", "ngram_cache", "ngram_mod"} <= set(measured),
              f"bench drafter: those that need no model have times: {measured}")
        check("not_measured" in rows["model"] and "oracle" not in rows, "bench drafter: the others do not")
        check(all(rows[name]["rounds"] >= 2 and rows[name]["emitted"] >= 1 for name in measured), "bench drafter: rounds")
        check(rows["none"]["drafted"] == 0 and rows["none"]["rounds"] == 78, "bench drafter: plain decoding, to the last token but one")
        check(rows["prompt_lookup"]["drafted"] > 0, "bench drafter: made-up texts have repeats")
        one = run_json("bench", "drafter", "--drafter", "{type: prompt_lookup, num_speculative_tokens: 1}", "--context", 200, "--repeats", 1, "--json")
        check(len(one["rows"]) == 1 and one["rows"][0]["drafted"] <= 1, "bench drafter: one drafter, as a study writes it")

    def batches_and_order_change_no_token():
        file = os.path.join(folder, "study.yaml")

        def tokens(*more):
            cells = run_json("run", file, "--fresh", "--out", os.path.join(folder, "batches"), "--json", "--set", "run.repeats=1", *more)["cells"]
            rows = [[json.loads(line) for line in open(os.path.join(cell["folder"], "generations.jsonl"))] for cell in cells]
            return [sorted((row["conversation"], row["pipeline"], row["tokens"]) for row in cell) for cell in rows]

        one = tokens()
        check(tokens("--set", "run.batch_size=3") == one, "run: batches of three give the tokens of batches of one")
        check(tokens("--set", "run.interleave=false") == one, "run: so does running the baseline first")

    def inflation():
        shape, large = os.path.join(folder, "shape.json"), os.path.join(folder, "large")
        with open(shape, "w") as file:
            json.dump({**json.load(open(os.path.join(target, "config.json"))), "hidden_size": 72, "num_hidden_layers": 5, "intermediate_size": 100,
                       "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 300}, file)
        run_ok("inflate", "--model", target, "--like", shape, "--out", large)
        inflated = generate(large)
        check(inflated["token_ids"] == plain["token_ids"], "inflate: the same greedy tokens")
        check(inflated["inflated_from"].startswith("target (3 layers, width 32") and plain["inflated_from"] is None, "generate: says what is inflated")
        drafted = generate(large, "--draft-model", draft, "--set", "drafter.num_speculative_tokens=3")
        check(drafted["token_ids"] == plain["token_ids"], "inflate: a draft with the small vocabulary serves the large target")
        hot = generate(large, "--temperature", "5", "--draft-model", draft, "--seed", 3)
        check(max(hot["token_ids"]) < 96, "inflate: padded ids are never drawn")
        study, results = os.path.join(folder, "inflated.yaml"), os.path.join(folder, "inflated")
        with open(study, "w") as file:
            file.write(STUDY % {"target": "{type: inflated, model: %s, like: shape.json}" % target, "draft": draft})
        out = run_ok("run", study, "--out", results, "--json", "--limit", 1, "--set", "drafter.type=model", "--set", "sweep=~")
        cell = json.loads(out[out.index("\n{"):])["cells"][0]
        check("The target is inflated: target (3 layers" in out, "run: the report says so")
        check(list(cell["inflated_from"]) == ["target"] and json.load(open(os.path.join(cell["folder"], "summary.json")))["inflated_from"], "run: files too")
        check(cell["tasks"]["overall"]["same_as_baseline"] == 1.0, "run: an inflated target")
        made = os.listdir(os.path.join(results, ".models"))
        run_ok("check", study)
        check(len(made) == 1 and made[0].startswith("inflated-"), "run: inflated once, kept")

    def overlap_and_text():
        words = os.path.join(folder, "words.txt")
        with open(words, "w") as file:
            file.write("once upon a time there was a model\n" * 40)
        refused = run("overlap", "--model", target, "--draft-model", draft, "--text", words)
        check(refused.returncode == 2 and "has no tokenizer" in refused.stderr, "overlap: needs a tokenizer")
        study = os.path.join(folder, "text.yaml")
        with open(study, "w") as file:
            file.write("study: t\nmodel: {target: %s}\nworkload: {type: text, file: words.txt, prompt_chars: 20, count: 3}\n" % target)
        refused = run("check", study)
        check(refused.returncode == 2 and "tokenizer" in refused.stderr, "a text workload needs a tokenizer")

    def weights_of_4_bits():
        model = os.path.join(SOURCE, "models/target")
        text = os.path.join(folder, "bits.txt")
        with open(text, "w") as out:
            out.write("Tom has 12 apples. He gives 5 to Ann. Now Tom has 7 apples. " * 8)
        report = run_json("bench", "model", "--model", model, "--rows", "1,2", "--repeats", 1, "--dtype", "int4", "--text", text, "--json")
        error = report["rounding"]
        check(report["dtype"] == "int4" and 1 < error["perplexity"] < 1.6 * error["exact_perplexity"] and not error["random_text"],
              f"int4: perplexity {error['perplexity']:.3f}, {error['exact_perplexity']:.3f} before")
        ask = ("generate", "--model", model, "--prompt", "one two three one two three one", "--max-new-tokens", 32, "--ignore-eos", "--dtype", "int4z:16", "--json")
        ids = run_json(*ask)["token_ids"]
        check(run_json(*ask, "--drafter", "prompt_lookup", "--set", "drafter.num_speculative_tokens=7")["token_ids"] == ids, "int4: speculation changes no token")
        for wrong, why in (("int4:24", "groups of 24 do not divide"), ("int4:7", "multiple of 8"), ("int5", "int4")):
            done = run("generate", "--model", model, "--ids", "1 2", "--dtype", wrong)
            check(done.returncode == 2 and why in done.stderr and done.stderr.count("\n") == 1, f"--dtype {wrong}: {done.stderr.strip()}")

    def tokenize_files():
        tokenizer = os.path.join(SOURCE, "models/tokenizer")
        text = "Tom has 12 apples.\nHe gives 5 to Ann. \u00e9\u4e16 \n" * 20
        file = os.path.join(folder, "text.txt")
        with open(file, "w", encoding="utf-8") as out:
            out.write(text)
        ids = run_json("tokenize", "--model", tokenizer, "--text", text, "--json")["ids"]
        check(run_json("tokenize", "--model", tokenizer, "--file", file, "--json")["ids"] == ids and len(ids) > 100, "tokenize --file: as the text")
        check(run_ok("tokenize", "--model", tokenizer, "--file", file) == " ".join(map(str, ids)) + "\n", "tokenize --file: ids in a line")
        piped = subprocess.run([BIN, "tokenize", "--model", tokenizer, "--file", "-"], input=(text * 800).encode(), capture_output=True)
        got = list(map(int, piped.stdout.split()))
        check(piped.returncode == 0 and len(got) > 65536 and got[:100] == ids[:100], f"tokenize --file -: {len(got)} ids of a long text")
        back = run_ok("tokenize", "--model", tokenizer, "--decode", " ".join(map(str, ids)))
        check(back == text + "\n", "and back")
        for wrong in (["--text", "a", "--file", file], [], ["--file", os.path.join(folder, "absent")], ["--file", folder]):
            done = run("tokenize", "--model", tokenizer, *wrong)
            check(done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout, f"tokenize {wrong[:1]}: {done.stderr.strip()[:120]}")

    def longer_than_the_context():
        report = run_json("bench", "model", "--model", target, "--rows", "1,2", "--context", 3000, "--repeats", 1, "--json")
        check(any("context" in note for note in report["notes"]) and len(report["rows"]) == 2, f"bench model beyond the model's context: {report['notes']}")
        check(0 < report["read_bytes"] < 64 << 20 and report["rows"][0]["p90_ms"] >= report["rows"][0]["median_ms"], "attainable bandwidth over the model's own bytes")

    def help_and_version():
        check(run_ok("--version").startswith("foretell "), "--version")
        for verb in ("generate", "score", "tokenize", "run", "check", "list", "new", "make-random", "bench", "import", "inflate", "overlap", "parity"):
            check("--help" in run_ok(verb, "--help"), f"{verb} --help")

    def without_the_engine():
        """What runs no model is a program without LibTorch; it and the engine say the same."""
        engine = os.path.join(os.path.dirname(BIN), "foretell-engine")
        libraries = subprocess.run(["ldd", BIN], capture_output=True, text=True).stdout
        check("libforetell.so" in libraries and "torch" not in libraries, "foretell is linked without LibTorch")
        questions = [[], ["--version"], ["list"], ["list", "--json"], ["list", "--markdown"], ["table"], ["help", "list"], ["list", "eagle"], ["lst"],
                     ["new", "drafter", "model", "--dir", os.path.join(folder, "taken")]]
        names = [line.split()[0] for line in run_ok("--help").split("Subcommands:")[-1].splitlines() if re.match("  [a-z]", line)]
        check({"run", "list", "generate", "report"} <= set(names), f"--help names {len(names)} commands")
        for question in questions + [[name, "--help"] for name in names]:
            own = run(*question)
            its = subprocess.run([engine, *question], capture_output=True, text=True, env=ENVIRONMENT)
            check((own.returncode, own.stdout, own.stderr) == (its.returncode, its.stdout, its.stderr),
                  f"foretell {' '.join(question)}: as the engine says it: {own.stderr[:80]}")

    def closed_pipe():
        process = subprocess.run(f"'{BIN}' list --json | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash",
                                 capture_output=True, text=True)
        check(process.returncode == 0 and process.stderr == "", "a reader that goes away is no error")

    for test in (plain_generation, speculation_is_invisible, sampling_is_repeatable, rounds_are_shown, help_is_found, stop_token_ends, score_writes_logits, study_runs,
                 differences_are_judged, weights_of_8_bits, weights_of_4_bits, lossy_decoding_is_measured, interrupt_keeps_what_is_done, batches_and_order_change_no_token, lists, bench, bench_of_verification, bench_of_the_machine, bench_of_drafting, inflation, overlap_and_text, tokenize_files, longer_than_the_context, help_and_version, without_the_engine, closed_pipe):
        case(test)


with temporary_folder() as temporary:
    main(temporary)
finish()
