"""report, compare, plot and import spec-bench on a made study: hostile names, half folders, CSV and JSON read back, the page in a browser."""

import csv
import html.parser
import json
import os
import re
import shutil
import sqlite3
import subprocess

from support import *

NAMES = ["model k=1", '</script><script>document.title="broken"</script>', 'a, "quoted" name', "two\nlines", "`touch x` $(touch x) =1+1 日本 é"]
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome", "chrome")
# Stands in for Chart.js: takes what the page hands it.
CHARTS = "window.Chart = class Chart { constructor(canvas, config) { JSON.stringify(config.data); } destroy() {} };\n"


def task(speedup):
    return {"requests": 4, "tokens": 100, "mean_acceptance_length": 2.5, "tokens_per_second": 10 * speedup,
            "baseline_tokens_per_second": 10.0, "speedup": speedup, "decode_speedup": speedup, "speedup_interval": [speedup - 0.2, speedup + 0.2],
            "speedup_confidence": 0.95, "verdict": "faster",
            "verdict_words": "the interval is above 1", "draft_acceptance_rate": 0.5, "same_as_baseline": 1.0, "greedy_rouge_l": 0.9,
            "acceptance_rate_per_position": [0.75, 0.5], "conditional_acceptance_per_position": [0.75, 0.66],
            "phase_ms": {"draft": 1.0, "score": 20.0, "verify": 0.5, "commit": 0.1}}


def write_answer(cell, tokens, text):
    """One answer of one round, as versions without checksums wrote them."""
    key = {"conversation": "1", "turn": 0, "repeat": 0, "pipeline": "method"}
    with open(os.path.join(cell, "generations.jsonl"), "w", encoding="utf-8") as file:
        file.write(json.dumps({**key, "category": "c", "task": "t", "prompt_tokens": 3, "finish": "length", "prefill_ns": 1, "wall_ns": 2,
                               "tokens": tokens, "text": text}) + "\n")
    with open(os.path.join(cell, "rounds.jsonl"), "w", encoding="utf-8") as file:
        file.write(json.dumps({**key, "round": 0, "drafted": 2, "scored": 3, "depth": 2, "accepted": len(tokens) - 1, "emitted": len(tokens),
                               "next": "bonus", "draft_ns": 1, "score_ns": 1, "verify_ns": 1, "commit_ns": 1}) + "\n")


def made_study(folder, names=tuple(NAMES), speedup=1.5):
    """The last but one cell is incomplete, the last one missing."""
    cells = []
    for i, name in enumerate(names):
        cells.append({"name": name, "hash": f"{i:016x}", "group": "g", "is_baseline": False,
                      "settings": {"pipeline.drafter": {"type": "model", "k": i}, "pipeline.verifier": name}})
        if i == len(names) - 1:
            continue
        cell = os.path.join(folder, cells[-1]["hash"])
        os.makedirs(cell)
        with open(os.path.join(cell, "manifest.json"), "w", encoding="utf-8") as file:
            json.dump({"cpu": {"model": "A processor", "flags": ["avx2"]}, "threads": 2, "foretell": {"version": "0.1.0", "revision": "r"}}, file)
        write_answer(cell, [1, 2, i], name)
        if i == len(names) - 2:
            continue
        with open(os.path.join(cell, "summary.json"), "w", encoding="utf-8") as file:
            json.dump({"complete": True, "timed": True, "tasks": {"qa": task(speedup), "rag": task(speedup + 1), "overall": task(speedup + 0.5)},
                       "performance": {"predicted": {"iid": 1.4, "position_wise": 1.5, "oracle": 1.9},
                                       "reason": "wins: scoring 5 rows costs 1.2x"}}, file)
    with open(os.path.join(folder, "study.json"), "w", encoding="utf-8") as file:
        json.dump({"study": "made <b>study</b>", "description": "for a test", "file": "made.yaml", "cells": cells}, file)
    return folder


def read(*path):
    with open(os.path.join(*path), encoding="utf-8", newline="") as file:
        return file.read()


class Resources(html.parser.HTMLParser):
    """What a page would load, and how many elements of each kind it has."""

    def __init__(self):
        super().__init__()
        self.found, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.found += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]


def main(folder):
    study = made_study(os.path.join(folder, "made"))
    charts = os.path.join(folder, "charts.js")
    with open(charts, "w", encoding="utf-8") as file:
        file.write(CHARTS)

    def report_writes_all_formats():
        out = run_ok("report", study, "--chart-js", charts)
        for name in ("report.md", "report.csv", "report.json", "report.html"):
            check(os.path.join(study, name) in out and os.path.getsize(os.path.join(study, name)) > 0, f"report: writes and names {name}")
        check("1.30 to 1.70" in out and "[incomplete]" in out and "[missing]" in out, "report: intervals and what is not finished")
        check("\x1b" not in out and "two\\nlines" in out, "report: names are one line each")

    def csv_reads_back():
        rows = list(csv.DictReader(read(study, "report.csv").splitlines(keepends=True)))
        check(len(rows) == 3 * (len(NAMES) - 2) + 2, "csv: a row a cell and task, one for a cell without numbers")
        check(list(dict.fromkeys(row["cell"] for row in rows)) == NAMES, "csv: names come back as they were")
        check(rows[0]["task"] == "qa" and float(rows[0]["speedup"]) == 1.5 and rows[0]["pipeline.drafter.k"] == "0", "csv: numbers and settings")
        check(all(len(row) == len(rows[0]) and None not in row for row in rows), "csv: every row has every column")
        check(rows[-1]["state"] == "missing" and rows[-1]["speedup"] == "" and rows[-1]["tokens"] == "", "csv: what is missing is empty, not 0")
        aliases = list(csv.DictReader(read(study, "report_aliases.csv").splitlines()))
        there = [alias for alias in aliases if any(column.startswith(alias["column"]) for column in rows[0])]
        check({"vLLM", "llama.cpp", "SGLang", "Spec-Bench"} <= {alias["tool"] for alias in there} and len(there) > len(aliases) / 2,
              "csv: aliases name columns that exist")

    def json_reads_back():
        report = json.loads(read(study, "report.json"))
        check([cell["name"] for cell in report["cells"]] == NAMES, "json: names")
        check(report["cells"][0]["tasks"]["overall"]["speedup"] == 2.0 and report["cells"][-1]["tasks"] == {}, "json: numbers")
        check(report["machine"]["processor"] == "A processor", "json: the machine")

    def markdown_is_a_table():
        table = [line for line in read(study, "report.md").splitlines() if line.startswith("| ")]
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table if "requests" in line or "x |" in line}
        check(len(bars) <= 2 and "<script>" not in re.sub(r"\\<", "", read(study, "report.md")), "md: names do not break the table")

    def page_is_self_contained():
        page = read(study, "report.html")
        resources = Resources()
        resources.feed(page)
        check(resources.found == [] and "@import" not in page and "url(" not in page, f"html: nothing is loaded: {resources.found}")
        check(resources.tags.count("script") == 3, "html: no name opens or ends a script")
        data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL).group(1)
        check([cell["name"] for cell in json.loads(data)["cells"]] == NAMES, "html: the data are whole")

    def page_without_charts():
        out = os.path.join(folder, "bare")
        bad = run("report", study, "--format", "html", "--out", out, "--chart-js", os.path.join(folder, "none.js"))
        check(bad.returncode == 2 and "none.js" in bad.stderr, "html: a Chart.js that is not there is named")
        run_ok("report", study, "--format", "html", "--out", out, "--chart-js", charts)
        check(os.listdir(out) == ["report.html"], "report: one format alone, in another folder")

    def page_in_a_browser():
        browser = next((path for path in map(shutil.which, BROWSERS) if path), None)
        if not browser:
            print("no browser: the page is not run", flush=True)
            return
        page = os.path.join(study, "report.html")
        done = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000",
                               "--enable-logging=stderr", "--dump-dom", "file://" + os.path.abspath(page)],
                              capture_output=True, text=True, timeout=120)
        check('data-ready="true"' in done.stdout, "browser: the page's script runs to its end")
        shown = done.stdout.replace("&quot;", '"')
        check(shown.count("<tr") >= len(NAMES) + 1 and 'document.title="broken"' in shown, "browser: every cell is shown, as text")
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        check(not any("Uncaught" in line or "Refused" in line for line in console), f"browser: no errors: {console}")
        check("<title>broken" not in done.stdout, "browser: no name was run")

    def database():
        file = os.path.join(folder, "all.db")
        done = run("report", study, "--format", "csv", "--sqlite", file)
        if done.returncode == 2 and "built without SQLite" in done.stderr:
            print("built without SQLite: no database is made", flush=True)
            return
        with sqlite3.connect(file) as database:
            names = [row[0] for row in database.execute("SELECT name FROM cells ORDER BY position")]
            check(names == NAMES, "sqlite: names")
            check(database.execute("SELECT count(*) FROM generations").fetchone() == (len(NAMES) - 1,), "sqlite: generations")
            check(database.execute("SELECT speedup FROM tasks WHERE task = 'overall'").fetchall() == [(2.0,)] * (len(NAMES) - 2), "sqlite: numbers")

    def compare_two():
        other = made_study(os.path.join(folder, "other"), speedup=3.0)
        write_answer(os.path.join(other, f"{0:016x}"), [9], "")
        out = run_ok("compare", study, other)
        check("apart" in out and "1 of 1 differ" in out and "same" in out, "compare: intervals and tokens")
        both = run_json("compare", study, other, "--json")
        ratios = [cell["speedup_ratio"] for cell in both["cells"]]
        check(len(ratios) == len(NAMES) and ratios[0] == 3.5 / 2 and ratios[-1] is None, "compare: ratios")
        check(both["cells"][0]["different_answers"] == 1 and both["cells"][1]["different_answers"] == 0, "compare: answers")

    def plots():
        if not shutil.which("gnuplot"):
            none = run("plot", study)
            check(none.returncode == 2 and "gnuplot-nox" in none.stderr, "plot: without gnuplot it says what to install")
            return
        for kind in ("speedup", "acceptance", "phases", "predicted", "pareto"):
            for extension in ("svg", "png"):
                file = os.path.join(folder, f"{kind}.{extension}")
                run_ok("plot", study, "--kind", kind, "--out", file)
                with open(file, "rb") as picture:
                    start = picture.read(200)
                check(start.startswith(b"\x89PNG") or b"<svg" in start, f"plot: {kind}.{extension}")
        check(not os.path.exists("x") and not os.path.exists(os.path.join(study, "x")), "plot: no name was run")
        check(run("plot", study, "--out", os.path.join(folder, "a.pdf")).returncode == 2, "plot: other pictures are refused")

    def bad_folders():
        def one_line(what, *arguments):
            done = run(*arguments)
            check(done.returncode == 2 and done.stderr.count("\n") == 1, f"bad folder: {what}: {done.stderr.strip()[-160:]}")

        empty = os.path.join(folder, "empty")
        os.makedirs(empty)
        for command in (["report"], ["plot"], ["compare", study]):
            one_line(f"{command[0]} of an empty one", *command, empty)
        one_line("report of none", "report", os.path.join(folder, "nowhere"))
        bad = made_study(os.path.join(folder, "bad"))
        for what, name, content in (("half an index", "study.json", '{"study": "x", "cel'),
                                    ("a way out", "study.json", '{"study": "x", "cells": [{"name": "a", "hash": "../../etc"}]}')):
            with open(os.path.join(bad, name), "w", encoding="utf-8") as file:
                file.write(content)
            one_line(what, "report", bad)
            shutil.rmtree(bad)
            made_study(bad)
        # A broken file of a cell marks that cell, and the others are shown.
        for what, name, content in (("half a summary", "summary.json", '{"complete": tr'),
                                    ("a text for a number", "summary.json", '{"tasks": {"overall": {"speedup": "x"}}}'),
                                    ("half a manifest", "manifest.json", '{"threads"'), ("a manifest that is none", "manifest.json", '{"threads": [1]}'),
                                    ("half a config", "config.resolved.yaml", "a: [1"), ("half a prediction", "prediction.json", "{"),
                                    ("no differences", "divergence.json", '{"differences": 1}'), ("no rows", "generations.jsonl", "no row\n")):
            path = os.path.join(bad, f"{0:016x}", name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
            said = run_ok("report", bad)
            check(said.count("[damaged]") == 1 and os.path.dirname(path) in said and name in said and "2.00x" in said, f"bad folder: {what} marks its cell alone")
            file = os.path.join(folder, "bad.db")
            done = run("report", bad, "--format", "csv", "--sqlite", file)
            if "built without SQLite" not in done.stderr:
                with sqlite3.connect(file) as database:
                    kept = database.execute("SELECT DISTINCT cell FROM generations").fetchall()
                check((f"{0:016x}",) not in kept and len(kept) == len(NAMES) - 2, f"bad folder: {what}: the database has the rows of the others")
            shutil.rmtree(bad)
            made_study(bad)
        with open(os.path.join(bad, f"{0:016x}", "generations.jsonl"), "w", encoding="utf-8") as file:
            file.write("no row\n")
        one_line("no rows", "compare", bad, study)

    def real_answers():
        if not DATA:
            return skip("report_test: Spec-Bench's answers")
        rows = os.path.join(DATA, "data", "specbench")
        out = os.path.join(folder, "imported")
        run_ok("import", "spec-bench", os.path.join(rows, "answers_vicuna-7b-v1.3_sps-68m_T0.jsonl"),
               "--questions", os.path.join(rows, "question.jsonl"),
               "--baseline", os.path.join(rows, "answers_vicuna-7b-v1.3_vanilla_T0.jsonl"), "--out", out)
        run_ok("report", out, "--format", "json")
        overall = json.loads(read(out, "report.json"))["cells"][0]["tasks"]["overall"]
        lengths = [length for line in read(rows, "answers_vicuna-7b-v1.3_sps-68m_T0.jsonl").splitlines()
                   for length in json.loads(line)["choices"][0]["accept_lengths"]]
        check(abs(overall["mean_acceptance_length"] - sum(lengths) / len(lengths)) < 1e-9, "import: the mean of the accept lengths")
        check(overall["speedup"] > 1 and overall["drafted"] is None, "import: a speed-up, and nothing that is unknown")

    for function in (report_writes_all_formats, csv_reads_back, json_reads_back, markdown_is_a_table, page_is_self_contained, page_without_charts,
                     page_in_a_browser, database, compare_two, plots, bad_folders, real_answers):
        case(function)


if __name__ == "__main__":
    with temporary_folder() as temporary:
        main(temporary)
    finish()
