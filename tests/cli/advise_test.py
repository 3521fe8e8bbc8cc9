"""`foretell advise` and `check --hardware`: whether drafts can pay, by arithmetic, and every mistake as one line."""

import os
import tempfile

from support import *

DEVICES = ("--devices", os.path.join(SOURCE, "configs/hardware"))
MODELS = os.path.join(SOURCE, "configs/models")


def study(folder, name, drafter, target="tiny-llama.json", draft="tiny-llama-draft.json", run_section="{batch_size: 1}"):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"""study: advised
model:
  target: {{type: random, config: {os.path.join(MODELS, target)}}}
  draft: {{type: random, config: {os.path.join(MODELS, draft)}}}
pipeline:
  drafter: {drafter}
  verifier: rejection
workload: {{type: random_ids, count: 1, prompt_tokens: 4, max_new_tokens: 4}}
run: {run_section}
""")
    return path


def advise(path, *more, hardware="nvidia_A100"):
    return run_json("advise", path, "--hardware", hardware, *DEVICES, "--json", *more)["cells"]


def verdicts(folder):
    model = study(folder, "model.yaml", "{type: model, num_speculative_tokens: 3}")
    (cell,) = advise(model, hardware="amd_zen5_2cpu")
    own = cell["own"]
    check(own["draft_tokens"] == 3 and own["rows"] == 4 and cell["priced"] and own["draft_cost"] > 0, f"the cell's own draft: {own}")
    check(len(cell["rows"]) == 12 and cell["draft_parameters"] > 0, "a row for each batch and length")
    check(cell["verdict"].startswith("can"), cell["verdict"])
    (lookup,) = advise(study(folder, "lookup.yaml", "{type: prompt_lookup}"), hardware="amd_zen5_2cpu")
    check(lookup["own"]["draft_cost"] == 0 and lookup["draft_parameters"] == 0 and lookup["priced"], "a lookup costs nothing")
    same = study(folder, "same.yaml", "{type: model, num_speculative_tokens: 4}", draft="tiny-llama.json")
    (cell,) = advise(same, hardware="amd_zen5_2cpu")
    check(cell["verdict"].startswith("cannot pay") or cell["own"]["break_even_acceptance"] > 0.9, f"a draft as large as its target: {cell['verdict']}")
    (none,) = advise(study(folder, "none.yaml", "none"), hardware="amd_zen5_2cpu")
    check(none["verdict"].startswith("drafts nothing"), none["verdict"])
    (moe,) = advise(study(folder, "moe.yaml", "{type: model, num_speculative_tokens: 4}", target="tiny-mixtral.json", draft="tiny-mixtral.json"),
                    hardware="amd_zen5_2cpu")
    check("experts" in moe and moe["active_parameters"] < moe["target_parameters"], "a mixture's experts")
    out = run_ok("advise", model, "--hardware", "amd_zen5_2cpu", *DEVICES, "--seq", "100000")
    check("KV cache is half" in out and "dominates" in out and "break-even" in out, "the paragraph and the table")
    short = run_ok("check", model, "--hardware", "amd_zen5_2cpu", *DEVICES)
    lines = [line for line in short.splitlines() if line.startswith("advice: ")]
    check(len(lines) == 1 and "pay" in lines[0], f"check prints the verdict: {lines}")
    check("advice" not in run_ok("check", model), "and only where a device is named")


def predicted(folder):
    """The figures are predict's."""
    path = study(folder, "large.yaml", "{type: model, num_speculative_tokens: 2}")
    (cell,) = advise(path, "--batch", "4", "--draft-tokens", "2", "--seq", "64", hardware="amd_zen5_2cpu")
    row = run_json("predict", "--model", os.path.join(MODELS, "tiny-llama.json"), "--draft-model", os.path.join(MODELS, "tiny-llama-draft.json"), "--hardware",
                   "amd_zen5_2cpu", *DEVICES, "--acceptance", "1", "--batch", "4", "--draft-tokens", "2", "--seq", "64", "--flash", "--w-bits", "32", "--a-bits", "32",
                   "--json")["rows"][0]
    check(abs(cell["rows"][0]["speedup_if_all_accepted"] - row["speedup"]) < 1e-9, f"{cell['rows'][0]['speedup_if_all_accepted']} {row['speedup']}")
    check(cell["rows"][0]["break_even_acceptance"] == row["break_even_acceptance"], "the same break-even")


def refused(name, words, *arguments):
    done = run(*arguments)
    lines = [line for line in done.stderr.strip().split("\n") if not line.startswith("note:")]
    good = done.returncode == 2 and len(lines) == 1 and all(word in lines[0] for word in words) and done.stdout == ""
    check(good, f"{name}: {done.returncode} {done.stderr.strip()[:200]}")


def mistakes(folder):
    path = study(folder, "m.yaml", "{type: model}")
    refused("no device", ["--hardware"], "advise", path)
    refused("an unknown device", ["nvidia_Z"], "advise", path, "--hardware", "nvidia_Z", *DEVICES)
    refused("a batch of 0", ["--batch"], "advise", path, "--hardware", "nvidia_A100", *DEVICES, "--batch", "0")
    refused("a negative context", ["--seq"], "advise", path, "--hardware", "nvidia_A100", *DEVICES, "--seq=-1")
    refused("a precision that the device lacks", ["fp32"], "advise", path, "--hardware", "nvidia_A100", *DEVICES)
    refused("no study", ["gone.yaml"], "advise", os.path.join(folder, "gone.yaml"), "--hardware", "nvidia_A100", *DEVICES)


def main():
    with tempfile.TemporaryDirectory() as folder:
        case(lambda: verdicts(folder))
        case(lambda: predicted(folder))
        case(lambda: mistakes(folder))
    finish()


main()
