"""`foretell profile` and the charts of rooflines: parts that add up to the pass, pictures that gnuplot draws, and mistakes as one line."""

import os
import shutil
import tempfile

from support import *

DEVICES = ("--devices", os.path.join(SOURCE, "configs/hardware"))
MODELS = os.path.join(SOURCE, "configs/models")
HERE = ("--hardware", "amd_zen5_2cpu", *DEVICES)
PARTS = ["embedding", "norm", "qkv", "rope + cache", "attention", "output", "mlp", "head", "rest"]


def parts(folder):
    for family in ("tiny-llama", "tiny-mixtral", "tiny-gpt-neox", "tiny-deepseek-v3"):
        model = os.path.join(folder, family)
        run_ok("make-random", "--config", os.path.join(MODELS, f"{family}.json"), "--out", model)
        got = run_json("profile", "--model", model, *HERE, "--rows", "4", "--context", "32", "--repeats", "9", "--json")
        check([part["part"] for part in got["parts"]] == PARTS, f"{family}: the parts")
        total = sum(part["seconds"] for part in got["parts"])
        # Medians of parts of so short a pass: the sum of each pass is exact, that of medians nearly.
        check(abs(total - got["sum_seconds"]) < 1e-12 and abs(total / got["wall_seconds"] - 1) < 0.25, f"{family}: they add up: {total / got['wall_seconds']:.3f}")
        check(all(part["seconds"] > 0 for part in got["parts"]), f"{family}: every part is timed")
        bounds = sum(part["bound_seconds"] for part in got["parts"])
        check(abs(bounds / got["bound_seconds"] - 1) < 1e-9, f"{family}: every operator of the roofline belongs to a part")
        roofline = run_json("roofline", "--model", model, *HERE, "--seq", "32", "--rows", "4", "--flash", "--w-bits", "32", "--a-bits", "32", "--expanded-cache", "--json")
        check(abs(got["bound_seconds"] / roofline["total"]["decode"]["inference_time"] - 1) < 1e-9, f"{family}: the bound is roofline's")
    out = run_ok("profile", "--model", os.path.join(folder, "tiny-llama"), *HERE, "--repeats", "3")
    check("whole pass" in out and "rope + cache" in out and "of bound" in out, "the table")


def charts(folder):
    if not shutil.which("gnuplot"):
        return print("SKIPPED charts of rooflines: gnuplot is not installed", flush=True)
    for name, arguments in (("profile.svg", ("profile", "--model", os.path.join(folder, "tiny-llama"), *HERE, "--repeats", "3")),
                            ("roofline.svg", ("roofline", "--model", os.path.join(MODELS, "llama-2-7b.json"), "--hardware", "nvidia_A6000", *DEVICES))):
        path = os.path.join(folder, name)
        run_ok(*arguments, "--svg", path)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        check("<svg" in text and "ridge" in text and ("measured" in text) == (name == "profile.svg"), f"{name}: roofs, ridge and points")
        check(("proj" if name == "roofline.svg" else "attention") in text, f"{name}: names of operators")


def refused(name, words, *arguments):
    done = run(*arguments)
    lines = done.stderr.strip().split("\n")
    good = done.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words) and done.stdout == ""
    check(good, f"{name}: {done.returncode} {done.stderr.strip()[:160]}")


def mistakes(folder):
    model = ("--model", os.path.join(folder, "tiny-llama"))
    for option in ("--rows", "--repeats"):
        for value in ("0", "-1", "x"):
            refused(f"{option} {value}", [option], "profile", *model, *HERE, f"{option}={value}")
    refused("a negative context", ["--context"], "profile", *model, *HERE, "--context=-1")
    refused("beyond the context", ["positions"], "profile", *model, *HERE, "--context", "1000000")
    refused("a device without the precision", ["fp32"], "profile", *model, "--hardware", "nvidia_A100", *DEVICES)
    refused("a type without a roofline", ["f64"], "profile", *model, *HERE, "--dtype", "f64")
    refused("no model", ["gone"], "profile", "--model", os.path.join(folder, "gone"), *HERE)
    refused("no device", ["--hardware"], "profile", *model)
    refused("another kind of picture", [".svg"], "roofline", "--model", os.path.join(MODELS, "llama-2-7b.json"), "--hardware", "nvidia_A6000", *DEVICES, "--svg", "x.gif")
    broken = os.path.join(folder, "broken.json")
    with open(broken, "w", encoding="utf-8") as file:
        file.write('{"model_type": "llama", "hidden_size": 64}')
    refused("a config without a field", ["broken.json"], "roofline", "--model", broken, "--hardware", "nvidia_A6000", *DEVICES)


def table(folder):
    shown = run_json("table", "llm_viewer_a6000", "--tables", os.path.join(SOURCE, "configs/tables"), *DEVICES, "--json")
    check(shown["figures"] == 120 and shown["reproduced"] == 120, f"LLM-Viewer's Table 1: {shown['reproduced']} of {shown['figures']}")
    run_ok("table", "llm_viewer_a6000", "--tables", os.path.join(SOURCE, "configs/tables"), *DEVICES, "--check")
    with open(os.path.join(SOURCE, "configs/tables/llm_viewer_a6000.yaml"), encoding="utf-8") as file:
        text = file.read().replace("../models", os.path.join(SOURCE, "configs/models"))
    path = os.path.join(folder, "mine.yaml")

    def written(old, new):
        with open(path, "w", encoding="utf-8") as out:
            out.write(text.replace(old, new, 1))
        return path

    wrong = run("table", written("69G", "70G"), *DEVICES, "--check")
    check(wrong.returncode == 1 and "70G (here 68.7G)" in wrong.stdout and "119 of 120" in wrong.stdout, "a figure that differs is shown")
    for name, old, new, words in (("a figure", "69G", "69x", ["mine.yaml:", "69x"]), ("a stage", "[prefill", "[other", ["stage", "other"]),
                                  ("an operator", "q_proj, q_proj", "q_proj, gone", ["gone"]), ("a batch", "batch: 1", "batch: 0", ["batch"]),
                                  ("a precision", "bits: 16", "bits: 5", ["5"]), ("a short row", ", compute]", "]", ["mine.yaml:", "8"]), ("a key", "tokens:", "token:", ["token"])):
        refused(f"table: {name}", words, "table", written(old, new), *DEVICES)


def main():
    with tempfile.TemporaryDirectory() as folder:
        case(lambda: parts(folder))
        case(lambda: charts(folder))
        case(lambda: mistakes(folder))
        case(lambda: table(folder))
    finish()


main()
