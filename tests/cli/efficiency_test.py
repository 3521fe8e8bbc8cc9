"""`foretell efficiency`: metrics of models on a device, LLMCarbon's training, and every mistake as one line. No outside data."""

import os

from support import *

DEVICES = ("--devices", os.path.join(SOURCE, "configs/hardware"))
MODELS = [os.path.join(SOURCE, f"configs/models/{name}.json") for name in ("llama-2-7b", "llama-2-13b", "llama-2-70b", "llama-3-8b", "mixtral-8x7b", "deepseek-v3")]
GPT3 = ("--parameters", 175e9, "--tokens", 300e9, "--devices", 10000, "--peak", 125e12, "--efficiency", 0.197, "--watts", 330, "--pue", 1.1,
        "--intensity", 0.429)


def refused(name, words, *arguments):
    done = run("efficiency", *arguments)
    lines = done.stderr.strip().split("\n")
    check(done.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words), f"{name}: {done.returncode} {done.stderr.strip()[:160]}")


def known_models():
    rows = run_json("efficiency", "model", "--model", *MODELS, "--hardware", "nvidia_A100", *DEVICES, "--watts", 400, "--intensity", 0.4, "--json")["models"]
    # Parameters and KV bytes of a token as published: MLA's 70 kB, grouped heads' 128 KiB.
    published = [(6.74e9, 6.6e9, 524288), (13.0e9, 12.9e9, 819200), (69.0e9, 68.7e9, 327680), (8.03e9, 7.5e9, 131072), (46.7e9, 12.7e9, 131072), (671e9, 37e9, 70272)]
    for row, (parameters, active, cache) in zip(rows, published):
        good = abs(row["parameters"] / parameters - 1) < 0.01 and abs(row["active_parameters"] / active - 1) < 0.02 and row["kv_cache_bytes_per_token"] == cache
        check(good, f"{os.path.basename(row['model'])}: {row['parameters']:.4g}, {row['active_parameters']:.4g} active, {row['kv_cache_bytes_per_token']} B")
        check(0 < row["mfu"] < 0.1 and 0.5 < row["mbu"] <= 1 and row["joules_per_token"] > 0 and row["grams_co2_per_1000_tokens"] > 0, "its metrics")
    out = run_ok("efficiency", "model", "--model", *MODELS, "--hardware", "nvidia_A100", *DEVICES, "--watts", 400)
    check("llama-2-70b does not fit 40.0GB" in out and "llama-3-8b does not fit" not in out and "400 W (stated, not measured)" in out, "the table's notes")
    check(max(map(len, out.splitlines())) <= 100, "tables of at most 100 columns")


def training():
    found = run_json("efficiency", "training", *GPT3, "--json")
    check(abs(found["days"] - 14.805) < 1e-3 and abs(found["megawatt_hours"] - 1289.85) < 0.1 and abs(found["tonnes_co2"] - 553.34) < 0.1, f"GPT-3: {found}")
    check(run_ok("efficiency", "training", *GPT3) == "14.8 days, 1290 MWh, 553 t of CO2 equivalents\n", "GPT-3 in words")


def mistakes():
    model = ("model", "--model", MODELS[0], "--hardware", "nvidia_A100", *DEVICES)
    refused("no subcommand", ["subcommand is required"])
    refused("emissions without a power", ["--intensity", "--watts"], *model, "--intensity", 0.4)
    refused("a PUE below 1", ["--pue"], *model, "--pue", 0.5)
    refused("an answer without end", ["--output"], *model, "--output", 2000000000)
    for option in ("--batch", "--prompt", "--output"):
        refused(f"{option} 0", [option], *model, option, 0)
    refused("negative watts", ["--watts"], *model, "--watts=-3")
    def gpt3_with(option, value):
        at = GPT3.index(option)
        return (*GPT3[:at + 1], value, *GPT3[at + 2:])

    for option in ("--parameters", "--tokens", "--devices", "--peak", "--efficiency"):
        for value in ("0", "1e300", "-1", "nan", "inf", "x"):
            refused(f"training with {option} {value}", [f"{option}: expected a number from ", f"found '{value}'"], "training", *gpt3_with(option, value))
    refused("an efficiency above 1", ["--efficiency: expected a number from 1e-06 to 1, found '2'"], "training", *gpt3_with("--efficiency", 2))
    for option, value in (("--watts", "1e300"), ("--pue", "1e300"), ("--intensity", "1e300"), ("--batch", "2000000000"), ("--prompt", "2000000000")):
        refused(f"{option} {value}", [f"{option}: expected a", "from", f"found '{value}'"], *model, f"{option}={value}")
    for option, value in (("--batch", 1 << 20), ("--prompt", 1 << 24)):
        out = run_ok("efficiency", *model, option, value)
        check("inf" not in out and "nan" not in out, f"{option} {value}: numbers all the same")
    check("inf" not in run_ok("efficiency", "training", *gpt3_with("--parameters", 1e15)), "the largest model")
    refused("a PUE of training below 1", ["--pue: expected a number from 1 to 100"], "training", *gpt3_with("--pue", 0.5))


def devices():
    """A device's file without what the model's numbers need: one line with its place."""
    with temporary_folder() as folder:
        path = os.path.join(folder, "device.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("name: plain\nsource: a test\nbandwidth: 1e11\npeak: {fp32: 1e12}\n")
        for command in (("efficiency", "model"), ("roofline",), ("predict", "--acceptance", "0.8")):
            done = run(*command, "--model", MODELS[0], "--hardware", path)
            check(done.returncode == 2 and done.stderr == f"foretell: {path}:4: plain has no peak for products of 16 bits; it has fp32: expected fp16 or bf16\n",
                  f"{command[0]}: a device without a peak of 16 bits: {done.stderr.strip()[:200]}")
        with open(path, "w", encoding="utf-8") as file:
            file.write("name: plain\nsource: a test\nbandwidth: 1e11\npeak: {fp16: 1e12}\n")
        done = run("roofline", "--model", MODELS[0], "--hardware", path, "--rules", "llm-viewer", "--flash")
        check(done.returncode == 2 and f"{path}:1: plain has no onchip_buffer" in done.stderr, f"a buffer that fused attention needs: {done.stderr.strip()[:200]}")
        for missing, words in (("name: plain\n", "name"), ("bandwidth: 1e11\n", "bandwidth"), ("peak: {fp32: 1e12}\n", "peak")):
            text = "name: plain\nsource: a test\nbandwidth: 1e11\npeak: {fp32: 1e12}\n".replace(missing, "")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            done = run("efficiency", "model", "--model", MODELS[0], "--hardware", path)
            check(done.returncode == 2 and f"{path}:1: " in done.stderr and f"needs the key '{words}'" in done.stderr, f"a device without {words}: {done.stderr.strip()[:160]}")


for test in (known_models, training, mistakes, devices):
    case(test)
finish()
