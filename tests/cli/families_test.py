"""Every architecture from its config in configs/models: random weights, plain and speculated decoding, batches of three. No outside data."""

import glob
import os

from support import *

STUDY = """
study: families
model: {target: %(model)s, draft: %(model)s}
pipeline: {drafter: {type: model, num_speculative_tokens: 3}, tree: {type: eagle2}}
workload: {type: random_ids, count: 3, length: 70, max_new_tokens: 12, ignore_eos: true}
run: {batch_size: 3, repeats: 1, warmup: 0, threads: 1}
"""


def family(config, folder):
    name = os.path.basename(config)[:-len(".json")]
    model = os.path.join(folder, name)
    run_ok("make-random", "--config", config, "--out", model, "--seed", 3)
    # Longer than the shortest window, in pieces.
    prompt = " ".join(str(5 + 37 * i % 900) for i in range(80))
    common = ("generate", "--model", model, "--ids", prompt, "--max-new-tokens", 16, "--ignore-eos", "--threads", 1, "--json")
    plain = run_json(*common)["token_ids"]
    drafted = (("--draft-model", model, "--set", "tree.type=eagle2"), ("--drafter", "prompt_lookup"))
    for more in drafted:
        got = run_json(*common, *more)
        check(got["token_ids"] == plain, f"{name}: {more[-1]} changes no token")
        if more[0] == "--draft-model":
            check(got["mean_acceptance_length"] > 3, f"{name}: its own drafts are accepted, {got['mean_acceptance_length']:.2f} tokens a round")
    half = run_json(*common, "--dtype", "bf16")["token_ids"]
    check(len(half) == 16, f"{name}: bf16")
    study = os.path.join(folder, name + ".yaml")
    with open(study, "w") as file:
        file.write(STUDY % {"model": model})
    overall = run_json("run", study, "--out", os.path.join(folder, name + "-out"), "--json")["cells"][0]["tasks"]["overall"]
    check(overall["same_as_baseline"] == 1, f"{name}: a batch of three changes no token")


with temporary_folder() as temporary:
    for path in sorted(glob.glob(os.path.join(SOURCE, "configs/models/tiny-*.json"))):
        if not path.endswith("-draft.json"):
            case(lambda: family(path, temporary))
finish()
