"""Results folders that somebody else has made: names that lead out of them, links, wrong types. Nothing outside --out is written or removed."""

import csv
import json
import os
import re
import shutil
import sqlite3

from support import *

HASH = "0123456789abcdef"
STUDY = """study: s
model: {target: %s}
workload: {type: random_ids, count: 1, length: 4, max_new_tokens: 4, ignore_eos: true}
pipeline: {drafter: {type: prompt_lookup}}
"""


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(content if isinstance(content, str) else json.dumps(content))


def tree_of(folder):
    """What a folder holds: path -> content, links as what they name."""
    found = {}
    for at, folders, names in os.walk(folder):
        for name in folders + names:
            path = os.path.join(at, name)
            if os.path.islink(path):
                found[os.path.relpath(path, folder)] = "-> " + os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    found[os.path.relpath(path, folder)] = file.read()
    return found


def shard(folder, hashes=(HASH,), study="s"):
    write(os.path.join(folder, "study.json"), {"study": study, "cells": [{"name": "x", "hash": one} for one in hashes]})
    return folder


def cell(folder, complete=True):
    write(os.path.join(folder, "generations.jsonl"), "")
    write(os.path.join(folder, "summary.json"), {"complete": complete, "tasks": {}})
    return folder


def refused(what, done, *words):
    one_line = done.stderr.count("\n") == 1 and all(word in done.stderr for word in words)
    check(done.returncode == 2 and one_line, f"{what}: exit {done.returncode}: {done.stderr.strip()[-200:]}")


def main(folder):
    def merge_stays_inside():
        work = os.path.join(folder, "merge")
        victim = cell(os.path.join(work, "payload"))
        for bad in ("../payload", "/etc", "..", ".", "", "a/b", HASH + "0", HASH[:15], HASH.upper(), HASH[:15] + "/", HASH[:15] + "\n", "x" * 16, 7, None, ["a"]):
            shutil.rmtree(os.path.join(work, "s"), ignore_errors=True)
            shard(os.path.join(work, "s"), [bad])
            before = tree_of(victim)
            refused(f"merge of the hash {bad!r}", run("merge", os.path.join(work, "s"), "--out", os.path.join(work, "out")), "study.json", "/cells/0")
            check(tree_of(victim) == before and not os.path.exists(os.path.join(work, "out")), f"merge of the hash {bad!r}: writes nothing, no lock either")
        if DATA:
            case_folder = os.path.join(DATA, "cases", "store", "merge_traversal")
            shutil.copytree(case_folder, os.path.join(work, "case"))
            before = tree_of(os.path.join(work, "case"))
            refused("cases/store/merge_traversal", run("merge", os.path.join(work, "case", "s"), "--out", os.path.join(work, "case", "out")), "study.json")
            check(tree_of(os.path.join(work, "case")) == before and not os.path.exists(os.path.join(work, "case", "out")),
                  "cases/store/merge_traversal: nothing is replaced or made")
        else:
            skip("cases/store/merge_traversal")

    def merge_follows_no_links():
        work = os.path.join(folder, "links")
        outside = cell(os.path.join(work, "outside"))
        write(os.path.join(outside, "secret"), "s")
        before = tree_of(outside)
        out = os.path.join(work, "out")
        # The cell's folder in --out is a link.
        source = shard(os.path.join(work, "s"))
        cell(os.path.join(source, HASH))
        write(os.path.join(source, HASH, "generations.jsonl"), "{}\n" * 9)
        os.makedirs(out)
        os.symlink(outside, os.path.join(out, HASH))
        refused("merge into a link", run("merge", source, "--out", out), "symbolic link", HASH)
        check(tree_of(outside) == before, "merge into a link: what it shows is left alone")
        os.remove(os.path.join(out, HASH))
        # A shard's cell is one, or holds one.
        linked = shard(os.path.join(work, "linked"))
        os.symlink(outside, os.path.join(linked, HASH))
        refused("merge of a link", run("merge", linked, "--out", out), "symbolic link")
        os.remove(os.path.join(linked, HASH))
        cell(os.path.join(linked, HASH))
        for name in ("probs.bin", "notes"):
            os.symlink(os.path.join(outside, "secret") if name == "probs.bin" else outside, os.path.join(linked, HASH, name))
            refused(f"merge of a cell with a link: {name}", run("merge", linked, "--out", out), "symbolic link", name)
            os.remove(os.path.join(linked, HASH, name))
        os.mkfifo(os.path.join(linked, HASH, "pipe"))
        refused("merge of a cell with a pipe", run("merge", linked, "--out", out, timeout=20), "pipe")
        os.remove(os.path.join(linked, HASH, "pipe"))
        check("s: 1 of 1 cell complete" in run_ok("merge", linked, "--out", out), "merge of ordinary files")

    def run_follows_no_links():
        work = os.path.join(folder, "run")
        os.makedirs(work)
        model = make_random(work, "model")
        study = os.path.join(work, "study.yaml")
        write(study, STUDY % model)
        run_ok("run", study, "--out", os.path.join(work, "good"))
        hashes = [name for name in os.listdir(os.path.join(work, "good", "s")) if len(name) == 16]
        outside = os.path.join(work, "outside")
        os.makedirs(outside)
        write(os.path.join(outside, "summary.json"), "{}")
        before = tree_of(outside)
        for what, link in (("the study's folder", ("s",)), ("a cell's folder", ("s", hashes[0])), ("the lock", ("s", ".lock"))):
            out = os.path.join(work, "out " + what)
            os.makedirs(os.path.dirname(os.path.join(out, *link)))
            os.symlink(os.path.join(outside, "summary.json") if what == "the lock" else outside, os.path.join(out, *link))
            for fresh in ((), ("--fresh",)):
                # One line alone: it is found before a model is measured.
                refused(f"run where {what} is a link {fresh}", run("run", study, "--out", out, *fresh), "is a symbolic link", link[-1])
                check(tree_of(outside) == before, f"run where {what} is a link: what it shows is left alone")
        out = os.path.join(work, "out with a pipe")
        os.makedirs(os.path.join(out, "s"))
        os.mkfifo(os.path.join(out, "s", ".lock"))
        refused("run where the lock is a pipe", run("run", study, "--out", out, timeout=20), ".lock: is a folder, a pipe or a device")

    def names_of_studies_have_reasons():
        model = make_random(folder, "named")
        study = os.path.join(folder, "named.yaml")
        for name, words in (("''", "is empty"), ("x" * 300, "has 300 characters, at most 255 are allowed"), ("a/b", "may hold letters, digits"), (".a", "begins with '.'")):
            write(study, STUDY.replace("study: s", f"study: {name}") % model)
            refused(f"a study called {name[:20]}", run("run", study, "--out", os.path.join(folder, "named-out")), "named.yaml:1: study: ", words)

    def reports_stay_inside():
        work = os.path.join(folder, "report")
        good = shard(os.path.join(work, "good"))
        for bad in ("../good", "/etc", "x" * 16, 7):
            bad_study = shard(os.path.join(work, "bad"), [bad])
            for command in (["report"], ["plot"], ["compare", good]):
                refused(f"{command[0]} of the hash {bad!r}", run(*command, bad_study), "study.json", "/cells/0/hash")
        pipe = os.path.join(work, "pipe")
        os.makedirs(pipe)
        os.mkfifo(os.path.join(pipe, "study.json"))
        for command in (["report"], ["plot"], ["compare", good], ["merge", "--out", os.path.join(work, "merged")]):
            refused(f"{command[0]} where study.json is a pipe", run(*command, pipe, timeout=20), "study.json: is not a regular file but a pipe")
        refused("two cells of one hash", run("report", shard(os.path.join(work, "twice"), [HASH, HASH])), "/cells/1/hash", "another cell's")

    def wrong_types_are_one_line():
        # In this process's terms: what run, merge, diff and table read; the readers of reports have a table of every key in tests/experiments.
        work = os.path.join(folder, "types")
        os.makedirs(work)
        model = make_random(work, "model")
        study = os.path.join(work, "study.yaml")
        write(study, STUDY % model)
        run_ok("run", study, "--out", os.path.join(work, "good"))
        result = os.path.join(work, "good", "s")
        cell_name = next(name for name in os.listdir(result) if len(name) == 16)
        for name, changes, commands in (
                ("summary.json", {"complete": "yes", "performance": [1], "tasks": 7, "records": "x", "": [1]}, ("run", "merge", "report")),
                ("manifest.json", {"target": 5, "cpu": "x", "passes": 1, "row_costs": {"target": [{"rows": "1"}]}, "inputs": [1], "foretell": 1, "": "x"},
                 ("run", "merge", "report", "diff")),
                ("study.json", {"cells": {"a": 1}, "study": 5, "": 3}, ("merge", "report"))):
            for key, bad in changes.items():
                for command in commands:
                    out = os.path.join(work, "bad")
                    shutil.rmtree(out, ignore_errors=True)
                    shutil.copytree(os.path.join(work, "good"), out)
                    path = os.path.join(out, "s", name) if name == "study.json" else os.path.join(out, "s", cell_name, name)
                    content = json.load(open(path, encoding="utf-8"))
                    write(path, bad if not key else {**content, key: bad})
                    at = os.path.join(out, "s")
                    arguments = {"run": ("run", study, "--out", out), "merge": ("merge", at, "--out", os.path.join(out, "merged")), "report": ("report", at),
                                 "diff": ("diff", os.path.join(at, cell_name))}[command]
                    done = run(*arguments)
                    last = done.stderr.strip().splitlines()[-1:] or [""]
                    fine = done.returncode == 0 or (done.returncode == 2 and name in last[0] and "json.exception" not in last[0])
                    check(fine, f"{command} with {name}: {key or 'all of it'} = {bad!r}: exit {done.returncode}: {last[0][-160:]}")

    def hostile_names_are_harmless():
        if not DATA:
            return skip("cases/store/hostile_study.json")
        work = os.path.join(folder, "names")
        os.makedirs(work)
        shutil.copy(os.path.join(DATA, "cases", "store", "hostile_study.json"), os.path.join(work, "study.json"))
        cells = json.load(open(os.path.join(work, "study.json"), encoding="utf-8"))["cells"]
        for i, one in enumerate(cells):
            task = {"requests": 3, "tokens": 100, "speedup": 1.5, "mean_acceptance_length": 2.5, "tokens_per_second": 3.5, "score_ms": 1.0,
                    "phase_ms": {"draft": 1, "score": 2, "verify": 1, "commit": 1}}
            write(os.path.join(work, one["hash"], "summary.json"),
                  {"complete": i != 1, "timed": True, "tasks": {one["name"]: task, "overall": task}, "performance": {"reason": one["name"]}})
        said = run_ok("report", work, "--sqlite", os.path.join(work, "report.db"))
        acts = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
        outputs = {"the terminal": said, "compare": run_ok("compare", work, work)}
        for name in ("report.md", "report.csv", "report.json", "report.html"):
            with open(os.path.join(work, name), encoding="utf-8", newline="") as file:
                outputs[name] = file.read()
        for name, text in outputs.items():
            found = acts.search(text[:text.find("<script")] if name == "report.html" else text)
            check(found is None, f"hostile names: no character acts in {name}: {found}")
        rows = list(csv.reader(outputs["report.csv"].splitlines(keepends=True)))
        formulas = [field for row in rows for field in row if field[:1] in tuple("=+-@\t\r") and not re.fullmatch(r"[-+]?[0-9.e+-]+", field)]
        check(len(rows) > len(cells) and formulas == [], f"hostile names: no field of report.csv is a formula: {formulas[:3]}")
        names = json.loads(outputs["report.json"])["cells"]
        check([one["name"] for one in names] == [one["name"] for one in cells], "hostile names: JSON gives them back as they were")
        database = sqlite3.connect(os.path.join(work, "report.db"))
        stored = [row[0] for row in database.execute("SELECT name FROM cells UNION SELECT path FROM settings UNION SELECT value FROM settings "
                                                     "UNION SELECT task FROM tasks UNION SELECT name FROM study")]
        check(len(stored) > len(cells) and not any(acts.search(text) for text in stored), "hostile names: none acts in the database")
        check("<img" not in outputs["report.html"].replace("\\u003cimg", "") and "<img" not in re.sub(r"\\<", "", outputs["report.md"]),
              "hostile names: no element of HTML")

    for test in (merge_stays_inside, merge_follows_no_links, run_follows_no_links, reports_stay_inside, wrong_types_are_one_line,
                 hostile_names_are_harmless, names_of_studies_have_reasons):
        case(test)


with temporary_folder() as name:
    main(name)
finish()
