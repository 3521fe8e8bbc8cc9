"""foretell tree optimize: measures a pipeline, writes a tree, and what is written drafts. No outside data."""

import os

from support import *

STUDY = """
study: small
model: {target: %(target)s, draft: %(draft)s}
pipeline: {drafter: {type: model, draft_sample_method: top_k}}
sampling: {temperature: 1.0}
workload: {type: random_ids, count: 3, length: 12, max_new_tokens: 16, ignore_eos: true}
"""


def main(folder):
    target = make_random(folder, "target")
    draft = make_random(folder, "draft", num_hidden_layers=1)
    study, tree = os.path.join(folder, "study.yaml"), os.path.join(folder, "tree.yaml")
    with open(study, "w") as file:
        file.write(STUDY % {"target": target, "draft": target})

    def optimizes():
        # The target is its own draft, and neither a draft step nor a further row costs anything: some tree always pays, however busy the machine.
        out = run_ok("tree", "optimize", study, "--out", tree, "--max-nodes", 12, "--max-depth", 4, "--ranks", 6, "--draft-cost", 0,
                     "--row-cost", "flat")
        check("accepted by rank, over" in out and "tokens a round" in out and "fastest" in out, "tree optimize: acceptance, and tokens by size")
        with open(tree) as file:
            text = file.read()
        check(text.startswith("# A tree of ") and "\npaths:\n  - [0]\n" in text, "tree optimize: a file of rank paths")

    def the_tree_drafts():
        common = ("generate", "--model", target, "--ids", "5 6 7", "--max-new-tokens", 24, "--ignore-eos", "--json")
        plain = run_json(*common)
        shaped = run_json(*common, "--draft-model", draft, "--set", "tree.type=static", "--set", f"tree.file={tree}")
        check(shaped["token_ids"] == plain["token_ids"], "the tree that was written drafts, and changes no token")
        for policy in ("cost_model", "ucb", "hf_schedule"):
            got = run_json(*common, "--draft-model", draft, "--set", "tree.type=eagle2", "--set", f"policy.type={policy}")
            check(got["token_ids"] == plain["token_ids"], f"eagle2 under {policy} changes no token")

    def mistakes():
        done = run("tree", "optimize", study, "--out", tree, "--set", "pipeline.drafter={type: prompt_lookup}")
        check(done.returncode == 2 and "makes no trees" in done.stderr, "tree optimize: a drafter without trees is refused")
        done = run("tree", "optimize", study, "--out", tree, "--set", "pipeline.drafter.tree={type: widths, widths: [2]}")
        check(done.returncode == 2 and "--set pipeline.drafter.tree" in done.stderr and "own tree" in done.stderr,
              f"tree optimize: a drafter's own tree is not measured over: {done.stderr.strip()}")
        done = run("tree", "optimize", study, "--out", tree, "--ranks", 1000)
        check(done.returncode == 2 and "at most" in done.stderr, "tree optimize: limits")
        done = run("generate", "--model", target, "--ids", "5", "--draft-model", draft, "--set", "tree.type=static", "--set", f"tree.file={study}")
        check(done.returncode == 2 and f"{study}:2: unknown key 'study' in a tree" in done.stderr, "a file that is no tree is told by its line")

    for function in (optimizes, the_tree_drafts, mistakes):
        case(function)


with temporary_folder() as temporary:
    main(temporary)
finish()
