"""The bundled models do what their cards say: answers are right, the draft is accepted, decoding stays lossless."""

import os

from support import *

TARGET, DRAFT = os.path.join(SOURCE, "models/target"), os.path.join(SOURCE, "models/draft")
MEDUSA = os.path.join(SOURCE, "models/medusa")

STUDY = """
study: zoo
model: {target: %s, draft: %s}
workload: {type: generated, count: 12}
run: {threads: 1}
sweep:
  pipeline.drafter:
    - {type: none}
    - {type: model, num_speculative_tokens: 4}
    - {type: prompt_lookup, num_speculative_tokens: 4}
    - {type: sparse_cache, attention: {type: streaming, sinks: 2, window: 16}}
    - {type: sparse_cache, attention: {type: h2o, heavy_hitters: 8, window: 8}}
    - {type: medusa, head: %s}
""" % (TARGET, DRAFT, MEDUSA)

# Well below what 200 prompts a family gave (models/target/README.md): twelve conversations are few.
BARS = {"retrieval": 0.8, "qa": 0.8, "translation": 0.8, "multi_turn": 0.8, "summarization": 0.8, "arithmetic": 0.5}


def main(folder):
    study = os.path.join(folder, "zoo.yaml")
    with open(study, "w") as file:
        file.write(STUDY)
    plain, model, *others = run_json("run", study, "--out", os.path.join(folder, "results"), "--json")["cells"]
    for family, bar in BARS.items():
        exact = plain["tasks"][family]["exact_match"]
        check(exact >= bar, f"zoo: {family} right in {100 * exact:.0f} % of the answers, at least {100 * bar:.0f} %")
    for cell in (model, *others):
        overall = cell["tasks"]["overall"]
        check(overall["exact_match"] == overall["baseline_exact_match"] and overall["same_as_baseline"] == 1,
              f"zoo: {cell['name']} changes no token")
    length = model["tasks"]["overall"]["mean_acceptance_length"]
    check(length > 2.3, f"zoo: the draft's mean acceptance length at 4 tokens is {length:.2f}")
    length = others[-1]["tasks"]["overall"]["mean_acceptance_length"]
    check(length > 1.7, f"zoo: the mean acceptance length of four Medusa heads is {length:.2f}")
    size = sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(os.path.join(SOURCE, "models")) for name in names)
    check(size < 16e6, f"zoo: {size / 1e6:.1f} MB")


with temporary_folder() as temporary:
    main(temporary)
finish()
