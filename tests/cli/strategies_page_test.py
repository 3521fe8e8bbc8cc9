#!/usr/bin/env python3
"""docs/reference/strategies.md is what `foretell list --markdown` writes, and strategies are found by their names elsewhere."""

import json
import os
import re

from support import SOURCE, case, check, finish, run, run_ok

PAGE = "docs/reference/strategies.md"
KINDS = {"drafter", "verifier", "policy", "tree", "attention", "router", "exit"}


def page_is_current():
    with open(os.path.join(SOURCE, PAGE), encoding="utf-8") as file:
        stored = file.read()
    check(stored == run_ok("list", "--markdown"), f"{PAGE} is current; renew it by: build/foretell list --markdown > {PAGE}")


def page_has_every_strategy():
    page = run_ok("list", "--markdown")
    rows = re.findall(r"^\| `(\w+)` \|.*$", page, re.MULTILINE)
    entries = [entry for entry in json.loads(run_ok("list", "--json")) if entry["kind"] in KINDS]
    check(sorted(rows) == sorted(entry["name"] for entry in entries), "the page has a row for each registered strategy")
    check(all(line.replace("\\|", "").count("|") == 9 for line in page.splitlines() if line.startswith("| ")), "rows have eight cells")
    part = run_ok("list", "verifiers", "--markdown")
    check("## Verifiers" in part and "## Drafters" not in part, "one kind alone as Markdown")
    done = run("list", "--json", "--markdown")
    check(done.returncode == 2 and "--json and --markdown" in done.stderr, "JSON and Markdown exclude one another")


def facts_are_shown():
    entries = {(entry["kind"], entry["name"]): entry for entry in json.loads(run_ok("list", "--json"))}
    model = entries["drafter", "model"]
    check(model["paper"] == {"authors": "Leviathan et al.", "year": 2022, "arxiv": "2211.17192"}, "list --json: the paper")
    check("SpS" in model["also_known_as"], "list --json: also_known_as")
    check(model["taxonomy"] == {"focus": "model-centric", "ryu2024": "independent draft model", "xia2024": "independent drafting: small LM"},
          "list --json: the taxonomy")
    oracle = entries["drafter", "oracle"]
    check(oracle["paper"] is None and oracle["also_known_as"] == [] and oracle["taxonomy"] is None, "list --json: nothing where nothing is known")
    check(all(re.fullmatch(r"\d{4}\.\d{5}", entry["paper"]["arxiv"] or "0000.00000") for entry in entries.values() if entry["paper"]),
          "arXiv ids are of the form that arxiv.org/abs/ takes")
    text = run_ok("list", "drafters")
    check("\n    paper: Chen et al. 2024, arXiv 2408.11049; also known as: MagicDec; taxonomy: model-centric" in text, "list: as text")
    check("oracle" in text and "paper: ;" not in text and "also known as: \n" not in text, "list: only what there is")


def names_from_elsewhere():
    for name, kind, here in (("MagicDec", "drafter", "sparse_cache"), ("smartspec", "policy", "goodput"), ("SpecDec++", "policy", "specdecpp"),
                             ("StreamingLLM", "attention", "streaming"), ("K-SEQ", "verifier", "spectr")):
        found = json.loads(run_ok("list", name, "--json"))
        check([(entry["kind"], entry["name"]) for entry in found] == [(kind, here)], f"list {name} is {here}")
    both = json.loads(run_ok("list", "SpecInfer", "--json"))
    check({entry["name"] for entry in both} == {"merged", "multi_step"}, "list SpecInfer: a drafter and a verifier")
    both = json.loads(run_ok("list", "EAGLE-2", "--json"))
    check({(entry["kind"], entry["name"]) for entry in both} == {("drafter", "eagle2"), ("tree", "eagle2")}, "list EAGLE-2: a drafter and its tree")
    both = json.loads(run_ok("list", "EAGLE-3", "--json"))
    check({(entry["kind"], entry["name"]) for entry in both} == {("drafter", "eagle3"), ("learner", "eagle3")}, "list EAGLE-3: a drafter and a learner")
    for key, name, here in (("drafter", "MagicDec", "sparse_cache"), ("drafter", "PIA Lookahead", "ant_trie"), ("drafter", "TLI", "universal"),
                            ("verifier", "block verification", "block"), ("policy", "SmartSpec", "goodput"), ("policy", "SmartSpek", "goodput")):
        study = os.path.join(SOURCE, "configs/studies/zoo.yaml")
        done = run("check", study, "--set", f"pipeline.{key}={{type: {name}}}")
        check(done.returncode == 2 and f"'{name}' (did you mean '{here}'?)" in done.stderr, f"a study with {key} {name}: did you mean {here}")
    done = run("certify", "--verifier", "SpecInfer")
    check(done.returncode == 2 and "did you mean 'multi_step'?" in done.stderr, "certify --verifier SpecInfer: did you mean multi_step")


for test in (page_is_current, page_has_every_strategy, facts_are_shown, names_from_elsewhere):
    case(test)
finish()
