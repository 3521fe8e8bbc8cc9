"""Whatever a user gets wrong: exit code 2 and exactly one line on standard error that says what."""

import json
import os
import shutil
import struct
import subprocess

from support import *

STUDY = """study: s
model: {target: %s}
workload: {type: random_ids, count: 1, length: 8, max_new_tokens: 4}
"""


def refused(what, words, *arguments, env=None):
    done = run(*arguments, env=env)
    lines = done.stderr.rstrip("\n").split("\n")
    fits = done.returncode == 2 and len(lines) == 1 and lines[0].startswith("foretell: ") and all(word in lines[0] for word in words)
    check(fits, f"{what}: {done.stderr.strip()[:200]}" + ("" if fits else f" [exit {done.returncode}, expected {words}]"))


def changed_copy(model, name, change):
    """A copy of a model's folder in which change(path of the weights, path of the config) has been at work."""
    folder = model + "-" + name
    shutil.copytree(model, folder)
    change(os.path.join(folder, "model.safetensors"), os.path.join(folder, "config.json"))
    return folder


def weights_table(model):
    def truncated(weights, _):
        os.truncate(weights, os.path.getsize(weights) // 2)

    def lying_header(weights, _):
        with open(weights, "r+b") as file:
            file.write(struct.pack("<Q", 1 << 60))

    def lying_offsets(weights, _):
        data = open(weights, "rb").read()
        size = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:8 + size])
        name = next(key for key in header if key != "__metadata__")
        header[name]["data_offsets"] = [0, 1 << 40]
        text = json.dumps(header).encode()
        open(weights, "wb").write(struct.pack("<Q", len(text)) + text + data[8 + size:])

    def unknown_architecture(_, config):
        document = json.load(open(config))
        document.update({"model_type": "mystery", "architectures": ["MysteryForCausalLM"]})
        json.dump(document, open(config, "w"))

    def not_a_number(weights, _):
        data = open(weights, "rb").read()
        size = struct.unpack("<Q", data[:8])[0]
        open(weights, "wb").write(data[:8 + size] + b"\xff\xff\xff\x7f" * ((len(data) - 8 - size) // 4))

    for name, change, words in (
            ("missing", lambda weights, _: os.remove(weights), ["model.safetensors"]),
            ("truncated", truncated, ["model.safetensors"]),
            ("lying-header", lying_header, ["model.safetensors"]),
            ("lying-offsets", lying_offsets, ["model.safetensors"]),
            ("no-config", lambda _, config: os.remove(config), ["config.json"]),
            ("bad-config", lambda _, config: open(config, "w").write("{nonsense"), ["config.json"]),
            ("architecture", unknown_architecture, ["mystery", "llama"]),
            ("nan", not_a_number, ["NaN"])):
        refused(f"weights {name}", words, "generate", "--model", changed_copy(model, name, change), "--ids", "1 2 3")


def command_line_table(model, folder):
    generate = ("generate", "--model", model)
    refused("ids out of range", ["96"], *generate, "--ids", "1 2 96")
    refused("negative id", ["--ids", "-1"], *generate, "--ids", "-1 2")
    refused("ids that are words", ["--ids", "two"], *generate, "--ids", "1 two")
    refused("no prompt", ["--prompt", "--ids"], *generate)
    refused("empty prompt", ["no token"], *generate, "--ids", "")
    refused("text without a tokenizer", ["tokenizer", "--ids"], *generate, "--prompt", "hello")
    refused("prompt longer than the context", ["128"], *generate, "--ids", "5 " * 200)
    refused("negative temperature", ["--temperature", "-1"], *generate, "--ids", "1", "--temperature=-1")
    refused("temperature that is a word", ["--temperature", "warm"], *generate, "--ids", "1", "--temperature", "warm")
    refused("unknown drafter", ["promt_lookup", "prompt_lookup"], *generate, "--ids", "1", "--drafter", "promt_lookup")
    refused("unknown parameter", ["num_specultive_tokens", "num_speculative_tokens"], *generate, "--ids", "1", "--drafter", "prompt_lookup", "--set",
            "drafter.num_specultive_tokens=3")
    refused("drafter model without one", ["draft"], *generate, "--ids", "1", "--drafter", "model")
    refused("an oracle that knows nothing", ["oracle"], *generate, "--ids", "1", "--drafter", "oracle")
    refused("unknown dtype", ["f8"], *generate, "--ids", "1", "--dtype", "f8")
    refused("unknown KV cache dtype", ["KV cache dtype 'int4'", "int8"], *generate, "--ids", "1", "--kv-dtype", "int4")
    refused("int8 KV cache of f64", ["kv_dtype int8", "f64"], *generate, "--ids", "1", "--dtype", "f64", "--kv-dtype", "int8")
    refused("unknown device", ["tpu"], *generate, "--ids", "1", "--device", "tpu")
    refused("unknown chat template", ["vicuna"], *generate, "--ids", "1", "--chat-template", "vicunia")
    refused("unknown option", ["--max-new-token", "--max-new-tokens"], *generate, "--ids", "1", "--max-new-token", "3")
    refused("unknown command", ["genrate", "generate"], "genrate")
    shown = run()
    check(shown.returncode == 0 and "Usage: foretell" in shown.stdout, "no command: the help")
    refused("a folder that is not there", ["no/such"], "generate", "--model", "no/such", "--ids", "1")
    other = make_random(folder, "other", vocab_size=64)
    refused("vocabularies differ", ["64", "96"], *generate, "--ids", "1", "--draft-model", other)
    refused("unknown kind", ["drafers", "drafters"], "list", "drafers")
    refused("tokenize without a tokenizer", ["okenizer"], "tokenize", "--model", model, "--text", "a")
    refused("rows that are none", ["--rows"], "bench", "model", "--model", model, "--rows", "1,x")
    bench = ("bench", "drafter", "--drafter")
    refused("a drafter to bench that is none", ["suffix_tree", "suffix_decoding"], *bench, "suffix_tree")
    refused("a drafter to bench that needs a model", ["model"], *bench, "model")
    refused("a drafter's parameter that is none", ["--drafter:1", "alfa", "alpha"], *bench, "{type: suffix_automaton, alfa: 2}")
    refused("a drafter's corpus without a tokenizer", ["suffix_automaton", "tokenizer"], *bench, "{type: suffix_automaton, corpus: a.txt}")
    refused("a text to bench without a tokenizer", ["--tokenizer"], *bench, "none", "--file", "a.txt")


def tokenizer_table(model, folder):
    broken = changed_copy(model, "broken-tokenizer", lambda weights, _: open(os.path.join(os.path.dirname(weights), "tokenizer.json"), "w").write("{}"))
    refused("tokenizer that is none", ["tokenizer.json"], "generate", "--model", broken, "--prompt", "a")
    if not DATA:
        return skip("a tokenizer that does not fit")
    misfit = changed_copy(model, "misfit", lambda weights, _: shutil.copy(os.path.join(DATA, "golden/tokenizers/gpt-2/tokenizer.json"),
                                                                          os.path.join(os.path.dirname(weights), "tokenizer.json")))
    refused("tokenizer that does not fit the model", ["tokenizer", "96"], "generate", "--model", misfit, "--prompt", "a")


def score_table(model, folder):
    out = os.path.join(folder, "out.safetensors")
    tables = {"range": ({"input_ids": ("I32", [1, 2], [1, 96])}, ["96"]), "negative": ({"input_ids": ("I32", [1, 2], [1, -1])}, ["-1"]),
              "shape": ({"input_ids": ("I32", [2], [1, 2])}, ["[2]"]), "type": ({"input_ids": ("F32", [1, 2], [1, 2])}, ["F32"]),
              "name": ({"ids": ("I32", [1, 2], [1, 2])}, ["input_ids"]), "long": ({"input_ids": ("I32", [1, 200], [1] * 200)}, ["128"])}
    for name, (tensors, words) in tables.items():
        file = os.path.join(folder, name + ".safetensors")
        write_safetensors(file, tensors)
        refused(f"score, {name}", words, "score", "--model", model, "--ids-file", file, "--out", out)
    good = os.path.join(folder, "good.safetensors")
    write_safetensors(good, {"input_ids": ("I32", [1, 2], [1, 2])})
    refused("score into a folder that is not there", ["no/such"], "score", "--model", model, "--ids-file", good, "--out", "no/such/x.safetensors")
    check(not os.path.exists(out), "score leaves nothing behind")


def study_table(model, folder):
    def study(name, text):
        path = os.path.join(folder, name + ".yaml")
        with open(path, "w") as file:
            file.write(text)
        return path

    base = STUDY % model
    good = study("good", base)
    for command in ("run", "check"):
        for name, text, words in (
                ("unknown key", base + "samplng: {temperature: 1}\n", ["yaml:4", "samplng", "sampling"]),
                ("unknown key below", base + "sampling: {temprature: 1}\n", ["yaml:4", "temprature", "temperature"]),
                ("unknown drafter", base + "pipeline:\n  drafter: {type: modle}\n", ["yaml:5", "modle", "model"]),
                ("unknown parameter", base + "pipeline:\n  drafter:\n    type: prompt_lookup\n    num_tokens: 3\n", ["yaml:7", "num_tokens"]),
                ("wrong type", base + "run: {repeats: many}\n", ["yaml:4", "repeats", "many"]),
                ("not YAML", "study: [", ["yaml:"]),
                ("no file", base.replace("random_ids, count: 1, length: 8", "spec_bench, file: no/such.jsonl"), ["yaml:3", "no/such.jsonl"]),
                ("variable", base.replace(model, "'${FORETELL_NO_SUCH}/m'"), ["yaml:2", "FORETELL_NO_SUCH"]),
                ("no model", base.replace(model, "no/such/model"), ["yaml:2", "no/such/model"])):
            refused(f"{command}, {name}", words, command, study(name.replace(" ", "-"), text))
        refused(f"{command}, no such study", ["no/such.yaml"], command, "no/such.yaml")
        refused(f"{command}, bad override", ["--set", "repeats"], command, good, "--set", "run.repeats=0")
        refused(f"{command}, override without a value", ["--set", "a.b.c=value"], command, good, "--set", "run.repeats")
        refused(f"{command}, prompt longer than the context", ["prompt 1", "128"], command, good, "--set", "workload.length=300")
        refused(f"{command}, an oracle at a temperature", ["oracle", "temperature"], command, good, "--set", "drafter.type=oracle", "--set",
                "sampling.temperature=1")
        refused(f"{command}, an oracle without a baseline", ["oracle", "answer"], command, good, "--set", "drafter.type=oracle", "--set", "baseline=none")
        refused(f"{command}, text without a tokenizer", ["tokenizer"], command, good, "--set", "workload={type: prompts, prompts: [a]}")
    refused("run, unwritable output", ["file"], "run", good, "--out", os.path.join(study("file", "x"), "results"))
    full = run("list")
    if os.path.exists("/dev/full"):
        done = subprocess.run([BIN, "list"], stdout=open("/dev/full", "w"), stderr=subprocess.PIPE, text=True)
        check(done.returncode == 2 and done.stderr.count("\n") == 1 and full.returncode == 0, f"full disk behind standard output: {done.stderr.strip()}")


with temporary_folder() as temporary:
    tiny = make_random(temporary)
    for table in (lambda: weights_table(tiny), lambda: command_line_table(tiny, temporary), lambda: tokenizer_table(tiny, temporary),
                  lambda: score_table(tiny, temporary), lambda: study_table(tiny, temporary)):
        case(table)
finish()
