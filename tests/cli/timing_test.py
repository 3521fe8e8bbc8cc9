"""A clock that contradicts itself: forwards that take other times than their rows were measured to cost are no result, in any output.

The costs stand in the manifest of a finished cell; a second run of the study prints the cell again by them. So they are changed here, and not the clock."""

import glob
import json
import os

from support import *

STUDY = """
study: %s
model: {target: %s}
workload: {type: random_ids, count: 10, length: 24, max_new_tokens: %d, ignore_eos: true}
run: {warmup: 0, threads: 1}
sweep: {pipeline.drafter: [{type: prompt_lookup, num_speculative_tokens: 3, whole_continuation: false}]}
"""


def main(folder):
    results, target = os.path.join(folder, "results"), make_random(folder, "target")

    def made(name, tokens):
        study = os.path.join(folder, name + ".yaml")
        with open(study, "w") as file:
            file.write(STUDY % (name, target, tokens))
        run_ok("run", study, "--out", results)
        return study

    def again(study, factor):
        manifest = glob.glob(os.path.join(results, os.path.basename(study)[:-5], "*", "manifest.json"))[0]
        if manifest not in manifests:
            with open(manifest) as file:
                manifests[manifest] = json.load(file)
        measured = manifests[manifest]
        changed = json.loads(json.dumps(measured))
        for point in changed["row_costs"]["target"]:
            point["ns"] *= factor
        with open(manifest, "w") as file:
            json.dump(changed, file)
        return run_ok("run", study, "--out", results), run_json("run", study, "--out", results, "--json")["cells"][0]

    manifests = {}

    def disturbed():
        study = made("timed", 12)
        for factor, what in ((1e-3, "slower"), (1e3, "faster")):
            out, cell = again(study, factor)
            check("unreliable timing: scoring " in out and "x the measured cost" in out, f"timing: {what} than its rows cost is unreliable")
            check("unreliable timing, so nothing is said of it: " in out and " wins" not in out and " loses" not in out,
                  f"timing: {what}: the sentence names it and ranks nothing")
            check(cell["tasks"]["overall"]["verdict"] == "unreliable timing" and cell["performance"]["predicted"] is None,
                  f"timing: {what}: no verdict and no prediction")
            check(cell["performance"]["reason"].startswith("unreliable timing: "), f"timing: {what}: the reason is the contradiction")
            check("x ?" in out and "\n? " in out, f"timing: {what}: the speed-up is marked in the table")

    def short_answers():
        """The first five rounds bring weights back into caches that the prefill took: they are held against nothing."""
        out, cell = again(made("short", 5), 1e-3)
        check("unreliable timing: scoring " not in out, "timing: five tokens of an answer are its first rounds")

    def six_prompts_on_a_busy_machine():
        """A study that was once called a win of 5.33x, by six prompts and against its own arithmetic."""
        out = run_ok("run", os.path.join(DATA, "cases", "noise_wins_sentence", "st.yaml"), "--out", results)
        check("faster" not in out and "wins" not in out, "timing: six prompts win nothing, whatever the machine does")
        check("not judged" in out or "unreliable timing" in out, "timing: six prompts: why there is no verdict")

    case(disturbed)
    case(short_answers)
    if DATA:
        case(six_prompts_on_a_busy_machine)
    else:
        skip("timing_test: six prompts on a busy machine")


with temporary_folder() as temporary:
    main(temporary)
finish()
