"""`foretell predict`: a table and JSON for every way to draft, reasons of a loss, and every mistake as one line. No outside data."""

import os
import tempfile

from support import *

DEVICES = ("--devices", os.path.join(SOURCE, "configs/hardware"))
LARGE = os.path.join(SOURCE, "configs/models/llama-1b.json")
SMALL = os.path.join(SOURCE, "configs/models/llama-135m.json")


def predict(*more, model=LARGE):
    return run_json("predict", "--model", model, "--hardware", "nvidia_A100", *DEVICES, "--json", *more)["rows"]


def refused(name, words, *more, model=LARGE):
    done = run("predict", "--model", model, "--hardware", "nvidia_A100", *DEVICES, *more)
    lines = done.stderr.strip().split("\n")
    good = done.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words) and done.stdout == ""
    check(good, f"{name}: {done.returncode} {done.stderr.strip()[:160]}")


def drafters():
    lookup, own, model, exit_, layer, heads = (
        predict("--acceptance", "0.8", "--draft-tokens", "3", *more)[0]
        for more in ((), ("--other-us", "500"), ("--draft-model", SMALL), ("--exit-layer", "4"), ("--drafting-layer",), ("--medusa-heads", "3")))
    check(abs(lookup["tokens_per_step"] - (1 + 0.8 + 0.64 + 0.512)) < 1e-9, "tokens of a step")
    check(lookup["draft_seconds"] == 0 and lookup["speedup"] > model["speedup"] > 1, "a lookup costs nothing, a model something")
    check(abs(own["other_seconds"] - 5e-4) < 1e-12 and own["speedup"] < lookup["speedup"], "what is no forward pass")
    check(exit_["draft_seconds"] > layer["draft_seconds"] > heads["draft_seconds"] > 0, "four layers, one layer, heads")
    for row in (lookup, own, model, exit_, layer, heads):
        cost = (row["draft_seconds"] + row["verify_seconds"] + row["other_seconds"]) / row["plain_seconds"]
        check(abs(row["speedup"] - row["tokens_per_step"] / cost) < 1e-9, "the speed-up is tokens over cost")


def batches():
    rows = predict("--acceptance", "0.6", "--batch", "1,1024", "--draft-tokens", "2,8", "--seq", "16")
    check([(row["batch"], row["draft_tokens"]) for row in rows] == [(1, 2), (1, 8), (1024, 2), (1024, 8)], "a row for each batch and length")
    check(rows[0]["loss"] == "" and rows[3]["loss"].startswith("the batch is too large"), f"a large batch loses: {rows[3]['loss']}")
    out = run_ok("predict", "--model", LARGE, "--hardware", "nvidia_A100", *DEVICES, "--acceptance", "0.6", "--batch", "1,1024")
    check("batch 1: best with" in out and "batch 1024: best with" in out and max(map(len, out.split("\n\n")[0].splitlines())) <= 100, "the table")
    tree = predict("--acceptance", "0.9,0.5", "--tree", "1,4,8")
    check(len(tree) == 1 and tree[0]["rows"] == 13 and abs(tree[0]["tokens_per_step"] - 2.35) < 1e-9, "a tree")
    draft = predict("--acceptance", "0.9", "--draft-tokens", "4", "--draft-model", LARGE)[0]
    check(draft["loss"].startswith("the draft is too expensive") and draft["break_even_acceptance"] is None, f"a draft as large: {draft['loss']}")


def mistakes(folder):
    for value in ("1.2", "-0.1", "x", "nan", ""):
        refused(f"--acceptance {value}", ["--acceptance"], f"--acceptance={value}")
    rate = ("--acceptance", "0.5")
    refused("no acceptance", ["--acceptance"])
    refused("two drafters", ["one of them drafts"], *rate, "--exit-layer", "2", "--medusa-heads", "2")
    refused("an exit behind the last layer", ["--exit-layer: 17", "16 layers"], *rate, "--exit-layer", "17")
    refused("no draft model", ["gone"], *rate, "--draft-model", os.path.join(folder, "gone"))
    refused("more tokens than heads", ["--draft-tokens", "2 Medusa heads"], *rate, "--medusa-heads", "2", "--draft-tokens", "3")
    refused("a tree beyond the heads", ["2 tokens", "at most 1 Medusa head"], *rate, "--medusa-heads", "1", "--tree", "1,2,2")
    refused("a tree without a root", ["--tree"], *rate, "--tree", "2,2")
    refused("a tree of a root", ["--tree"], *rate, "--tree", "1")
    for option in ("--batch", "--draft-tokens"):
        for value in ("0", "-1", "x", "", "99999999999"):
            refused(f"{option} {value}", [option], *rate, f"{option}={value}")
    refused("a draft without end", ["--draft-tokens"], *rate, "--draft-tokens", "2000000000")
    for option in ("--batch", "--draft-tokens"):
        for value in ("1,,2", ",1", "1,", "1, ,2"):
            refused(f"{option} {value}", [option, "an empty entry"], *rate, f"{option}={value}")
        refused(f"{option} beyond its range", [option, "expected integers from 1 to"], *rate, option, "2000000000")
    for option, value in (("--tree", "1,,2"), ("--acceptance", "0.8,,0.7"), ("--acceptance", "0.8,")):
        refused(f"{option} {value}", [option, "an empty entry"], *(() if option == "--acceptance" else rate), f"{option}={value}")
    for option, value in (("--seq", "2000000000"), ("--other-us", "1e300"), ("--exit-layer", "2000000000"), ("--medusa-heads", "2000000000")):
        refused(f"{option} {value}", [f"{option}: expected a", "from"], *rate, option, value)
    refused("bits", ["5 bits"], *rate, "--w-bits", "5")
    refused("one bit", ["a KV cache of 1 bit;"], *rate, "--kv-bits", "1")


with tempfile.TemporaryDirectory() as temporary:
    for test in (drafters, batches):
        case(test)
    case(lambda: mistakes(temporary))
finish()
