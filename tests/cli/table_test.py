"""foretell table: a made table over a made study, the bundled tables, and prompt lookup's published acceptance where its data is."""

import csv
import glob
import io
import json
import os

from support import *

STUDY = """
study: made
model: {target: %(target)s}
workload: {type: random_ids, count: 3, length: 24, max_new_tokens: %(tokens)d, ignore_eos: true}
run: {warmup: 0, threads: 1}
sweep: {pipeline.drafter: [{type: none}, {type: prompt_lookup, num_speculative_tokens: 3, whole_continuation: false}]}
"""

TABLE = """
title: a made table
source: {authors: Nobody, year: 2024, arxiv: "2401.00000", where: Table 9}
setting: {model: a large one, hardware: a fast one, temperature: 0, counting: tokens a round}
tie: 0.99
studies: {here: {study: made.yaml, setting: random weights}}
columns:
  - {name: tau, study: here, task: %(task)s, metric: mean_acceptance_length, compare: value, tolerance: 0.01}
  - {name: speed, study: here, task: overall, metric: speedup_mean_of_questions, compare: order, because: another machine}
  - {name: training, compare: none, because: nothing is trained}
rows:
  - {name: plain, published: [1.0, 1.0, 0], measured: {here: {drafter: {type: none}}}}
  - name: lookup
    published: [%(tau)s, [2.0, 2.5], 0]
    measured: {here: {pipeline.drafter: {type: %(drafter)s, num_speculative_tokens: 3, whole_continuation: false}}}
    %(more)s
  - {name: heads, published: [3.1, 2.9, null], not_comparable: there are none here}
"""


def main(folder):
    target = make_random(folder, "target")
    table, results = os.path.join(folder, "made-table.yaml"), os.path.join(folder, "results")

    def write(tokens=20, **values):
        with open(os.path.join(folder, "made.yaml"), "w") as file:
            file.write(STUDY % {"target": target, "tokens": tokens})
        with open(table, "w") as file:
            file.write(TABLE % {"tau": 2.0, "task": "overall", "drafter": "prompt_lookup", "more": "", **values})

    def cells():
        return {(c["row"], c["column"]): c for c in run_json("table", table, "--results", results, "--json")["cells"]}

    def nothing_is_measured():
        write()
        out = run_ok("table", table, "--results", results)
        check("a made table\n" in out and "Nobody 2024, arXiv 2401.00000, Table 9" in out, "table: title and source")
        check(f"not run yet; `foretell run {os.path.join(folder, 'made.yaml')} --out {results}` does" in out, "table: says which command measures")
        check("not comparable: heads in tau, speed: there are none here" in out, "table: a reason once for all its cells")
        done = run("table", table, "--results", results, "--check")
        check(done.returncode == 1 and done.stderr == "", f"table --check: what was not measured is not reproduced: {done.returncode}")

    def measured():
        write()
        out = run_ok("table", table, "--results", results, "--run")
        check("a made table\n" in out and "not run yet" not in out and "cell in" not in out, "table --run: measures, and prints the table alone")
        found = cells()
        tau = found["lookup", "tau"]
        check(found["plain", "tau"]["verdict"] == "reproduced" and found["plain", "tau"]["measured"] == 1.0, "table: plain decoding has one token a round")
        check(tau["measured"] > 1 and found["lookup", "speed"]["measured"] > 0, "table: acceptance, and the mean of questions' speeds")
        check(found["lookup", "speed"]["verdict"] == "not comparable" and any(why in found["lookup", "speed"]["reason"] for why in ("at least 8 prompts", "unreliable timing")),
              "table: speeds over three prompts are not ordered")
        summaries = [json.load(open(path)) for path in glob.glob(os.path.join(results, "made", "*", "summary.json"))]
        values = [s["tasks"]["overall"]["mean_acceptance_length"] for s in summaries]
        check(tau["measured"] in values, "table: the number is the summary's")
        write(tau=f"{tau['measured'] + 0.005:.4f}")
        check(run("table", table, "--results", results, "--check").returncode == 0, "table --check: all that is declared is reproduced")
        write(tau=f"{tau['measured'] + 0.02:.4f}")
        done = run("table", table, "--results", results, "--check")
        check(done.returncode == 1 and "differs: lookup in tau: more than 0.01 off" in done.stdout, "table --check: a value outside its tolerance")
        write(tau=f"{tau['measured'] + 0.02:.4f}", more="may_differ: {tau: other prompts}")
        done = run("table", table, "--results", results, "--check")
        check(done.returncode == 0 and "more than 0.01 off; other prompts" in done.stdout, "table: a difference with a known reason")
        write(tokens=24)
        check(cells()["lookup", "tau"]["verdict"] == "not measured", "table: what an older form of the study measured does not count")

    def fed_in():
        """A drafter that is told what to accept: a verdict of its own, whatever the table asks for and however the drafter is wrapped."""
        oracle = "{type: oracle, acceptance_rate: 0.7}"
        for name, drafter in (("alone", oracle), ("inside another", "{type: first_of, drafters: [%s, {type: prompt_lookup}]}" % oracle)):
            with open(os.path.join(folder, "fed.yaml"), "w") as file:
                file.write(f"study: fed\nmodel: {{target: {target}}}\nrun: {{warmup: 0, threads: 1}}\n"
                           "workload: {type: random_ids, count: 3, length: 24, max_new_tokens: 20, ignore_eos: true}\n"
                           f"sweep: {{pipeline.drafter: [{drafter}, {{type: none}}]}}\n")
            fed = os.path.join(folder, "fed-table.yaml")
            with open(fed, "w") as file:
                file.write("title: fed\nsource: {authors: Nobody, year: 2024, where: Table 9}\n"
                           "setting: {model: m, hardware: h, counting: c}\nstudies: {here: {study: fed.yaml, setting: s}}\ncolumns:\n"
                           "  - {name: tau, study: here, task: overall, metric: mean_acceptance_length, compare: value, tolerance: 9}\n"
                           "  - {name: order, study: here, task: overall, metric: mean_acceptance_length, compare: order, because: another machine}\n"
                           f"rows:\n  - {{name: theirs, published: [2.0, 2.0], measured: {{here: {{drafter: {drafter}}}}}}}\n"
                           "  - {name: plain, published: [1.0, 1.0], measured: {here: {drafter: {type: none}}}}\n")
            out = run_ok("table", fed, "--results", results, "--run")
            check("^ recomputed from their record: 2" in out and "drafter 'oracle' was given what it shows" in out, f"table: a fed-in number, {name}")
            check("no pair of rows can be ordered, no rank correlation below 3 pairs" in out, f"table: a fed-in number is in no order, {name}")
            shown = {(c["row"], c["column"]): c for c in run_json("table", fed, "--results", results, "--json")["cells"]}
            check(shown["theirs", "tau"]["verdict"] == shown["theirs", "order"]["verdict"] == "recomputed from their record"
                  and shown["plain", "tau"]["verdict"] == "reproduced", f"table --json: a fed-in number, {name}")
        report = run_ok("report", os.path.join(results, "fed"), "--format", "csv")
        check("[given acceptance]" in report and "it is recomputed, not measured" in report, "report: a fed-in number")

    def formats():
        write()
        rows = list(csv.DictReader(io.StringIO(run_ok("table", table, "--results", results, "--format", "csv"))))
        check(len(rows) == 9 and rows[4]["published_high"] == "2.5" and rows[0]["verdict"] == "reproduced", "table --format csv: one line a cell")
        out = run_ok("table", table, "--results", results, "--format", "md")
        check("| method | tau | here | speed | here | training | here |\n|---|" in out and "| plain | 1.0 | 1.00 = |" in out, "table --format md")

    def mistakes():
        for values, message in (({"task": "qa"}, "has no task 'qa'; it has "), ({"drafter": "model"}, "made-table.yaml:15: none of the 2 cells of "),
                                ({"more": "why: 1"}, "made-table.yaml:16: unknown key of a table's row 'why'")):
            write(**values)
            done = run("table", table, "--results", results)
            check(done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, f"table: {done.stderr.strip()[-150:]}")
        done = run("table", "spec-bench", "--tables", os.path.join(SOURCE, "configs/tables"))
        check(done.returncode == 2 and "unknown table 'spec-bench'" in done.stderr and "eagle2_pld" in done.stderr, "table: an unknown name")
        check(run("table", "--tables", folder + "/nowhere").returncode == 2, "table: a folder that is not there")
        summary = next(path for path in glob.glob(os.path.join(results, "made", "*", "summary.json")))
        write()
        with open(summary, "w") as file:
            file.write('{"complete": true, "tasks": {"overall": {"mean_acceptance_length": "fast"}}}')
        found = [one for one in cells().values() if "the cell is damaged: " + summary in (one["reason"] or "")]
        check(found and all(one["measured"] is None for one in found), "table: a summary that is none marks its cell, with the file")
        run_ok("table", table, "--results", results, "--run")
        content = json.load(open(summary))
        content["tasks"]["overall"]["mean_acceptance_length"] = 12.5
        with open(summary, "w") as file:
            json.dump(content, file)
        found = [one for one in cells().values() if f"the cell is damaged: {summary}: was changed after it was written" in (one["reason"] or "")]
        out = run_ok("table", table, "--results", results)
        check(found and all(one["measured"] is None for one in found) and "12.5" not in out, "table: an edited number is not printed, the cell and the file are named")
        check("the cell is damaged" not in run_ok("table", table, "--results", results, "--run"), "table --run: makes a damaged cell whole")

    def bundled():
        out = run_ok("table", "--tables", os.path.join(SOURCE, "configs/tables"))
        for name in ("specbench_vicuna7b", "survey_2404_14294_table5", "eagle2_pld"):
            check(name in out, f"table: lists {name}")
            shown = run_ok("table", name, "--tables", os.path.join(SOURCE, "configs/tables"), "--results", os.path.join(folder, "none"),
                           env={"FORETELL_DATA": ""})
            check("not measured: " in shown and "foretell run configs/studies" in shown.replace(SOURCE + "/", ""), f"table {name}: shown without data")

    def published_acceptance():
        done = run("table", "eagle2_pld", "--tables", os.path.join(SOURCE, "configs/tables"), "--results", results, "--run", "--check", timeout=600)
        check(done.returncode == 0, f"table eagle2_pld: MT-bench is reproduced: {done.returncode} {done.stderr[-200:]}")

    for function in (nothing_is_measured, measured, fed_in, formats, mistakes, bundled):
        case(function)
    if DATA:
        case(published_acceptance)
    else:
        skip("published acceptance of prompt lookup")


with temporary_folder() as temporary:
    main(temporary)
finish()
