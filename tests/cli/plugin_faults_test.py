"""Plug-ins that break their contract, crash, hang or end the program: one line that names the plug-in, its strategy, the step and the prompt; exit code 2;
what was finished is kept. tests/plugin/guards_test.cpp has the faults that end in an exception."""

import glob
import json
import os
import re
import shutil
import signal
import subprocess

import support
from support import *

STUDY = """study: faulty
plugins: [libfaulty.so]
model: {target: %s}
pipeline: {drafter: {type: faulty_drafter}, verifier: {type: rejection}}
workload: {type: random_ids, count: 4, length: 8, max_new_tokens: 8, ignore_eos: true}
run: {warmup: 0}
"""
# What bad_drafters.cpp of the outside data breaks, by name: words of the message.
BAD = {
    "ctor": ["its constructor", "boom line two"], "ctorint": ["its constructor", "int"], "throwdraft": ["draft()", "in draft"],
    "throwint": ["draft()", "int"], "bigid": ["token 101", "vocabulary of 96"], "hugeid": ["token 2000000000", "vocabulary of 96"],
    "negid": ["token -1"], "addbig": ["token 101", "vocabulary of 96"], "addhuge": ["token 2000000000", "vocabulary of 96"],
    "addneg": ["token -3 is negative"], "badparent": ["node 77"], "badlaw": ["distribution 12"], "wrongvocab": ["over 8 tokens", "has 96"],
    "toomany": ["50 nodes", "budget is 4"], "toodeep": ["50 nodes", "budget is 4"], "neglimits": ["limits()", "-5"],
    "hugelimits": ["limits()", "2000000000"], "maxlimits": ["limits()", "2147483647"], "wronganchor": ["starts at token"],
    "infinite": ["65536 nodes"], "segv": ["crashed", "SIGSEGV"], "wrongcount": ["0 drafts for 1"], "lawnan": ["finite", "nan"],
    "lawsum3": ["sum to 3"], "lawneg": ["has the probability -0.5"], "lawinf": ["finite", "inf"], "lawinf3": ["finite", "inf"],
    "lawzero": ["no probability"], "lawshort": ["over 7 tokens", "has 96"], "lawlong": ["over 96000 tokens", "has 96"],
    "choosesmallvocab": ["over 8 tokens", "has 96"],
}


def build(folder, sources):
    """All sources as plug-ins against an installed Foretell; their files."""
    lines = ["cmake_minimum_required(VERSION 3.25)", "project(faulty CXX)", "set(CMAKE_CXX_FLAGS -O0)", "find_package(Foretell REQUIRED)"]
    for name, source in sources.items():
        lines += [f'add_library({name} MODULE "{source}")', f"target_link_libraries({name} PRIVATE Foretell::framework)"]
    with open(os.path.join(folder, "CMakeLists.txt"), "w") as file:
        file.write("\n".join(lines) + "\n")
    out = os.path.join(folder, "build")
    for command in (["cmake", "-S", folder, "-B", out, *(["-G", "Ninja"] if shutil.which("ninja") else [])],
                    ["cmake", "--build", out, "--parallel", "2"]):
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CMAKE_PREFIX_PATH": os.path.join(folder, "prefix")})
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.stdout} {done.stderr}")
    return {name: os.path.join(out, f"lib{name}.so") for name in sources}


def told(what, words, done):
    """One line of the program's own and exit code 2; the C++ runtime may say something before."""
    lines = [line for line in done.stderr.split("\n") if line.startswith("foretell: ")]
    missing = [word for word in words if len(lines) != 1 or word not in lines[0]]
    check(done.returncode == 2 and not missing, f"{what}: {done.stderr.strip()[:300]}" +
          (f" [exit {done.returncode}, missing {missing}]" if missing or done.returncode != 2 else ""))


def main(folder):
    prefix = os.path.join(folder, "prefix")
    done = subprocess.run(["cmake", "--install", os.path.dirname(os.path.abspath(BIN)), "--prefix", prefix], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"cmake --install: {done.stderr}")
    support.BIN = os.path.join(prefix, "bin", "foretell")
    sources = {"faulty": os.path.join(os.path.abspath(SOURCE), "tests/cli/faulty_plugin.cpp")}
    if DATA:
        # Written for 0.1.0, whose headers lay elsewhere.
        sources["bad_drafters"] = os.path.join(folder, "bad_drafters.cpp")
        with open(os.path.join(DATA, "cases/plugin/bad_drafters.cpp")) as old, open(sources["bad_drafters"], "w") as new:
            source = old.read().replace('#include "framework/decode/', '#include "framework/api/')
            new.write(re.sub(r"\bLaw\b", "Distribution", source.replace("add_law(", "add_distribution(")))
    libraries = build(folder, sources)
    model = make_random(folder)
    faulty = libraries["faulty"]

    def generate(fault, *more, after=0, plugin=faulty, drafter="faulty_drafter", env=None):
        return run("generate", "--model", model, "--ids", "5 6 7 5 6 7 5 6", "--max-new-tokens", 12, "--ignore-eos", "--json", "--plugin", plugin,
                   "--drafter", drafter, *more, env={"FAULTY": fault, "FAULTY_AFTER": str(after), **(env or {})})

    def outside_drafters():
        if not DATA:
            return skip("bad_drafters.cpp")
        for name, words in BAD.items():
            words = [f"drafter 'x_{name}' of plug-in libbad_drafters.so", *words]
            told(f"x_{name}", words, generate("", plugin=libraries["bad_drafters"], drafter="x_" + name))

    def signals():
        where = "drafter 'faulty_drafter' of plug-in libfaulty.so"
        told("a crash", [where, "crashed in draft() at step 2: SIGSEGV", "what was finished is kept"], generate("drafter:segv", after=2))
        told("a full stack", [where, "crashed in draft() at step 0: SIGSEGV"], generate("drafter:stack"))
        told("a division by zero", [where, "SIGFPE"], generate("drafter:divide"))
        told("abort()", [where, "SIGABRT"], generate("drafter:abort"))
        told("a crash in a thread of the plug-in's", [where, "SIGSEGV"], generate("drafter:thread"))
        told("a destructor that throws", [where, "in end()", "cannot end"], generate("drafter:throw_in_end"))
        told("a constructor that crashes", [where, "in its constructor: SIGSEGV"], generate("constructor:segv"))
        told("exit(0)", [where, "ended the program in draft() at step 0: it called exit()"], generate("drafter:exit"))
        told("a verifier", ["verifier 'faulty_verifier' of plug-in libfaulty.so crashed in verify() at step 0: SIGSEGV"],
             generate("verifier:segv", "--verifier", "faulty_verifier"))
        told("static initialisers", ["plug-in libfaulty.so", "in its static initialisers"], generate("library:throw"))
        own = generate("")
        check(own.returncode == 0, "the handlers are not in the way of a run without faults")

    def waits():
        """A drafter that never returns is named, and two interrupts end the run."""
        study = os.path.join(folder, "build", "waits.yaml")
        with open(study, "w") as file:
            file.write(STUDY % model)
        process = subprocess.Popen([support.BIN, "run", study, "--out", os.path.join(folder, "waiting")], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True,
                                   env={**ENVIRONMENT, "FAULTY": "drafter:hang", "FORETELL_PLUGIN_PATIENCE": "0.2"})
        try:
            line = ""
            for line in process.stderr:
                if "waiting for" in line:
                    break
            check(re.search(r"waiting for drafter 'faulty_drafter' of plug-in libfaulty.so in draft\(\) at step 0 of prompt \S+ since \d+ s", line),
                  f"a hang is named: {line.strip()}")
            process.send_signal(signal.SIGINT)
            for line in process.stderr:  # the first one was taken in when the next note is there
                if "waiting for" in line:
                    break
            process.send_signal(signal.SIGINT)
            check(process.wait(timeout=60 * PATIENCE) == -signal.SIGINT, "the second interrupt ends a run that hangs")
        finally:
            process.kill()
            process.communicate()

    def finished_prompts_are_kept():
        study = os.path.join(folder, "build", "study.yaml")
        with open(study, "w") as file:
            file.write(STUDY % model)
        for fault, words in (("drafter:segv", ["crashed in draft()"]), ("drafter:throw_int", ["cell '", "threw int"])):
            results = os.path.join(folder, fault.replace(":", "_"))
            done = run("run", study, "--out", results, "--json", env={"FAULTY": fault, "FAULTY_AFTER": "20"})
            told(f"run, {fault}", ["drafter 'faulty_drafter' of plug-in libfaulty.so", *words], done)
            prompt = re.search(r"at step \d+ of prompt ([^\s:;]+)", done.stderr)
            files = glob.glob(os.path.join(results, "**", "generations.jsonl"), recursive=True)
            rows = [json.loads(line) for file in files for line in open(file)]
            finished = {row.get("prompt", row.get("conversation")) for row in rows}
            check(prompt and 0 < len(finished) < 4 and prompt.group(1) not in finished, f"run, {fault}: {len(finished)} prompts are on disk")
            cell = run_json("run", study, "--out", results, "--json")["cells"][0]
            check(cell["tasks"]["overall"]["requests"] == 4, f"run, {fault}: run again resumes")

    def constructors_have_a_line():
        study = os.path.join(folder, "build", "constructor.yaml")
        with open(study, "w") as file:
            file.write(STUDY % model)
        told("a constructor in a study", [study + ":4", "drafter 'faulty_drafter' of plug-in libfaulty.so", "boom line two"],
             run("check", study, env={"FAULTY": "constructor:throw_lines"}))

    def certificates():
        """Certify checks distributions always; a run until then."""
        certificate = faulty + ".certified"
        bad = run("certify", "--plugin", faulty, "--drafter", "faulty_drafter", "--verifier", "rejection", env={"FAULTY": "drafter:negative"})
        check(bad.returncode == 1 and re.search("distribution is none: token [0-9]+ has the probability -0.5", bad.stdout + bad.stderr),
              f"certify names the rule: {bad.stderr.strip()[:200]}")
        check(not os.path.exists(certificate), "certify: no certificate for what failed")
        told("a run before", ["distribution is none"], generate("drafter:negative"))
        check(generate("drafter:negative", "--trust-plugins").returncode == 0, "--trust-plugins does not look at entries")
        told("--trust-plugins", ["sum to 0.75"], generate("drafter:sum", "--trust-plugins"))
        run_ok("certify", "--plugin", faulty, "--drafter", "faulty_drafter", "--verifier", "rejection", env={"FAULTY": "drafter:chain"})
        content = json.load(open(certificate)) if os.path.exists(certificate) else {}
        check(content.get("drafters") == ["drafter 'faulty_drafter'"], f"certify leaves a certificate: {content}")
        check(generate("drafter:negative").returncode == 0, "a certified drafter's entries are not looked at")
        still = run("certify", "--plugin", faulty, "--drafter", "faulty_drafter", "--verifier", "rejection", env={"FAULTY": "drafter:negative"})
        check(still.returncode == 1, "certify checks what was certified")
        for name, text in (("another library", json.dumps({**content, "hash": "0123456789abcdef"})), ("no JSON", "{"), ("a list", "[1]"),
                           ("other types", json.dumps({**content, "drafters": 7}))):
            with open(certificate, "w") as file:
                file.write(text)
            told(f"a certificate of {name} counts for nothing", ["distribution is none"], generate("drafter:negative"))

    for test in (outside_drafters, signals, waits, finished_prompts_are_kept, constructors_have_a_line, certificates):
        case(test)


if not shutil.which("cmake") or not os.path.exists(os.path.join(os.path.dirname(os.path.abspath(BIN)), "cmake_install.cmake")):
    print("SKIPPED faults of plug-ins: cmake or the build folder is not there", flush=True)
    raise SystemExit(77)
with temporary_folder() as temporary:
    main(temporary)
finish()
