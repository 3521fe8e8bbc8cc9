"""`foretell roofline`: tables, JSON with LLM-Viewer's names, and every mistake as one line. No outside data."""

import json
import os
import tempfile

from support import *

DEVICES = ("--devices", os.path.join(SOURCE, "configs/hardware"))
LLAMA = os.path.join(SOURCE, "configs/models/llama-1b.json")
TOTAL = {"OPs", "memory_access", "load_weight", "load_act", "store_act", "load_kv_cache", "store_kv_cache", "inference_time",
         "memory_consumption", "memory_consumption_tmp_act", "memory_consumption_weight", "memory_consumption_kv_cache"}
OPERATOR = {"OPs", "memory_access", "arithmetic_intensity", "performance", "bound", "load_weight", "load_act", "store_act", "load_kv_cache",
            "store_kv_cache", "inference_time"}


def roofline(*more, model=LLAMA, hardware="nvidia_A100"):
    return run_json("roofline", "--model", model, "--hardware", hardware, *DEVICES, "--json", *more)


def refused(name, words, *more, model=LLAMA, hardware="nvidia_A100"):
    done = run("roofline", "--model", model, "--hardware", hardware, *DEVICES, *more)
    lines = done.stderr.strip().split("\n")
    good = done.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words) and done.stdout == ""
    check(good, f"{name}: {done.returncode} {done.stderr.strip()[:160]}")


def fields():
    for rules in ("foretell", "llm-viewer"):
        found = roofline("--rules", rules, "--batch", 2, "--seq", 64, "--w-bits", 8, "--a-bits", 8)
        check(set(found["total"]) == set(found["ops"]) == {"prefill", "decode"}, f"{rules}: the stages")
        check(all(set(stage) == TOTAL for stage in found["total"].values()), f"{rules}: the fields of a total")
        check(all(set(entry) == OPERATOR | {"layers"} for stage in found["ops"].values() for entry in stage.values()), f"{rules}: of an operator")
        check((found["batchsize"], found["seqlen"], found["w_bit"], found["a_bit"], found["kv_bit"]) == (2, 64, 8, 8, 8), f"{rules}: what was asked")
        for stage, operators in found["ops"].items():
            total = sum(entry["layers"] * entry["inference_time"] for entry in operators.values())
            check(abs(total - found["total"][stage]["inference_time"]) < 1e-9 * total, f"{rules}: {stage} is the sum of its operators")


def tables():
    out = run_ok("roofline", "--model", LLAMA, "--hardware", "nvidia_A100", *DEVICES, "--flash", "--prompt", 100, "--output", 20)
    check("Prefill of 1024 tokens in 1 sequence" in out and "fused_attention x16" in out and "KV cache" in out, "tables of both stages and of memory")
    check("20 tokens behind a prompt of 100: " in out, "the time of an answer")
    check(max(map(len, out.splitlines())) <= 100, f"at most 100 columns: {max(map(len, out.splitlines()))}")


def quirks():
    seen = [roofline("--rules", "llm-viewer", "--flash", *more)["total"]["decode"]["memory_access"]
            for more in ((), ("--without", "fused_cache_ignores_groups"), ("--without", "all"))]
    own = roofline("--flash")["total"]["decode"]["memory_access"]
    check(seen[0] > seen[1] > seen[2] and abs(seen[2] - own) < 1e-9 * own, f"rules that are gone without: {seen}, {own}")


def shapes():
    one, five = (roofline("--rows", rows)["total"]["decode"]["OPs"] for rows in (1, 5))
    tree = roofline("--tree", "1,2,2")["total"]["decode"]["OPs"]
    check(4.9 < five / one < 5.1 and five * 0.99 < tree < five, "rows and a tree of as many nodes")
    whole, half = (roofline(*more)["total"]["decode"]["inference_time"] for more in ((), ("--exit-layer", 8)))
    check(0.5 < half / whole < 0.7, "an exit behind half of the layers")


def own_device(folder):
    path = os.path.join(folder, "mine.yaml")
    with open(path, "w") as file:
        file.write("name: mine\nsource: a guess\nbandwidth: 20e9\npeak: {bf16: 1e12}\n")
    check(roofline(hardware=path)["total"]["decode"]["inference_time"] > 0.1, "a device of one's own")
    refused("a format it lacks", ["mine has no peak for products of 8 bits; it has bf16"], "--w-bits", "8", "--a-bits", "8", hardware=path)
    with open(path, "w") as file:
        file.write("name: mine\nsource: a guess\nbandwidth: 20e9\npaek: {bf16: 1e12}\n")
    refused("a key that is none", ["mine.yaml:4", "did you mean 'peak'?"], hardware=path)


def mistakes(folder):
    refused("no such device", ["unknown hardware 'nvidia_A1000'", "did you mean 'nvidia_A100'?"], hardware="nvidia_A1000")
    refused("no such file", ["gone.yaml"], hardware=os.path.join(folder, "gone.yaml"))
    refused("no such model", ["gone.json"], model=os.path.join(folder, "gone.json"))
    config = json.load(open(LLAMA))
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "intermediate_size"):
        path = os.path.join(folder, f"without_{key}.json")
        json.dump({k: v for k, v in config.items() if k != key}, open(path, "w"))
        refused(f"a config without {key}", [f"without_{key}.json", key], model=path)
        json.dump({**config, key: 0}, open(path, "w"))
        refused(f"a config with {key} 0", [f"without_{key}.json", key], model=path)
    for option in ("--batch", "--seq", "--rows", "--prompt", "--output", "--exit-layer"):
        for value in ("0", "-3", "x", "1.5", "99999999999999999999"):
            refused(f"{option} {value}", [option], f"{option}={value}")
    refused("5 bits", ["weights of 5 bits; known: 32, 16, 8, 4"], "--w-bits", "5")
    refused("no int8", ["intel_13900k has no peak for products of 8 bits"], "--w-bits", "8", "--a-bits", "8", hardware="intel_13900k")
    refused("an unknown rule", ["did you mean 'no_scales'?"], "--rules", "llm-viewer", "--without", "no_scale")
    refused("our rules have no quirks", ["--without", "llm-viewer"], "--without", "all")
    refused("rows by LLM-Viewer's rules", ["--rows"], "--rules", "llm-viewer", "--rows", "4")
    refused("a prompt without an answer", ["--prompt", "--output"], "--prompt", "4")
    refused("an answer without end", ["--output", "1048576"], "--prompt", "4", "--output", "2000000000")
    refused("an exit behind the last layer", ["layer 17", "16"], "--exit-layer", "17")
    refused("a tree without its root", ["--tree"], "--tree", "2,2")
    refused("a tree of more nodes than can be counted", ["--tree", "at most"], "--tree", "1,2147483647,2147483647")
    refused("a tree and rows", ["--tree", "--rows"], "--tree", "1,2", "--rows", "3")
    refused("a tree of no numbers", ["--tree"], "--tree", "a")
    moe = os.path.join(SOURCE, "configs/models/tiny-mixtral.json")
    refused("experts by LLM-Viewer's rules", ["mixtral", "mixture of experts", "--rules foretell"], "--rules", "llm-viewer", model=moe)


with tempfile.TemporaryDirectory() as temporary:
    for test in (fields, tables, quirks, shapes):
        case(test)
    case(lambda: own_device(temporary))
    case(lambda: mistakes(temporary))
finish()
