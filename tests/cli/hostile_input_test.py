"""What outsiders may hand in: control characters, pipes in place of files, numbers out of range, limits of the system. One line, exit code 2, nothing lost."""

import json
import os
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess

from support import *

STUDY = """study: s
model: {target: %s}
workload: {type: random_ids, count: %d, length: 8, max_new_tokens: 4}
run: {warmup: 0}
"""


def refused(what, words, *arguments, **options):
    done = run(*arguments, **options)
    lines = [line for line in done.stderr.rstrip("\n").split("\n") if not line.startswith("note: ")]  # of the machine's load
    fits = done.returncode == 2 and len(lines) == 1 and lines[0].startswith("foretell: ") and all(word in lines[0] for word in words)
    check(fits, f"{what}: {done.stderr.strip()[:250]}" + ("" if fits else f" [exit {done.returncode}, expected {words}]"))
    return done


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def on_terminal(*arguments):
    """What a command writes to a terminal, both streams together."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(BIN, [BIN, *map(str, arguments)], {**ENVIRONMENT, "NO_COLOR": "1"})
    out = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        out += part
    os.waitpid(pid, 0)
    os.close(terminal)
    return out


def escapes_table(model, folder):
    study = write(folder, "escape.yaml", STUDY % (model, 1) + 'pipeline: {policy: {type: "\\e[31mred\\u202E"}}\n')
    done = refused("an unknown policy with control characters", ["escape.yaml:5", "\\x1b[31mred\\u{202e}"], "check", study)
    check("\x1b" not in done.stderr and "\u202e" not in done.stderr, "none of them is printed")
    refused("a file's name with C1 and bytes that are no UTF-8", ["\\u{9b}31m\\xff.yaml"], "check", b"\xc2\x9b31m\xff.yaml".decode("utf-8", "surrogateescape"))
    refused("a command that is none", ["\\x1b]0;x\\x07"], "\x1b]0;x\x07")
    tokenizer = write(folder, "tokenizer.json", json.dumps({"model": {"type": "WordLevel", "vocab": {"\x1b[31m": 0, "x": 1, "[UNK]": 2}, "unk_token": "[UNK]"}}))
    text = run("tokenize", "--model", tokenizer, "--decode", "0 1").stdout
    check(text == "\x1b[31m x\n", "decoded text is exact in a pipe")
    shown = on_terminal("tokenize", "--model", tokenizer, "--decode", "0 1")
    check(shown == b"\\x1b[31m x\r\n", f"and escaped on a terminal: {shown!r}")
    shown = on_terminal("tokenize", "--model", tokenizer, "--decode", "0 1", "--json")
    check(json.loads(shown) == {"ids": [0, 1], "text": "\x1b[31m x"} and b"\x1b" not in shown, "JSON stays JSON there")


def cases_table():
    if not DATA:
        return skip("cases of outsiders")
    for name, words in (("22", [":2", "description"]), ("109", [":48", "drafter"]), ("125", [":10", "workload"]), ("218", [":11", "\\x1b[31mred"]),
                        ("220", [":15", "repeats"]), ("escape", [":2", "\\x1b]0;pwn\\x07\\x1b[31mX"])):
        refused(f"studies/{name}.yaml", [f"{name}.yaml" + words[0], *words[1:]], "check", os.path.join(DATA, "cases/studies", name + ".yaml"))
    refused("a tokenizer that doubles the text 24 times", ["norm_expand.json", "normalizer"], "tokenize", "--model",
            os.path.join(DATA, "cases/tokenizer/norm_expand.json"), "--text", "banana", timeout=20)


def numbers_table(model, folder):
    generate = ("generate", "--model", model, "--ids", "1 2", "--max-new-tokens", "3")
    for value in ("18446744073709551616", "-1", "1.5", "0x10", "", "1e3"):
        refused(f"--seed={value}", ["--seed"], *generate, f"--seed={value}")
    check(run(*generate, "--seed=18446744073709551615").returncode == 0, "the largest seed is one")
    check(run(*generate, "--seed=010").stdout == run(*generate, "--seed=10").stdout, "a leading zero makes no octal number")
    for option, command in (("--max-new-tokens", generate), ("--threads", generate), ("--repeats", ("bench", "model", "--model", model)),
                            ("--context", ("bench", "model", "--model", model)), ("--windows", ("overlap", "--model", model, "--draft-model", model, "--text", "t")),
                            ("--from", ("tasks", "chat")), ("--count", ("tasks", "chat")), ("--limit", ("run", "s.yaml")),
                            ("--seed", ("make-random", "--config", "c.json", "--out", "o"))):
        refused(f"{command[0]} {option} beyond any integer", [option], *command, f"{option}=99999999999999999999")
        refused(f"{command[0]} {option} below 0", [option], *command, f"{option}=-7")
    greedy = run(*generate, "--temperature", "0").stdout
    for value in ("1e-320", "1e-6"):
        check(run(*generate, "--temperature", value).stdout == greedy, f"temperature {value} is greedy")
    for flag, value in (("--temperature", "1e300"), ("--top-p", "1e-320"), ("--top-p", "0"), ("--min-p", "1.1"), ("--top-k", "-1"), ("--temperature", "nan"),
                        ("--set", "sampling.repetition_penalty=0"), ("--set", "sampling.repetition_penalty=inf"),
                        ("--set", "sampling.presence_penalty=1e300"), ("--set", "sampling.logit_bias=['3:1e38']")):
        refused(f"{flag} {value}", [], *generate, flag, value)
    for flags in (("--temperature", "1e6"), ("--temperature", "1e-5"), ("--temperature", "1", "--min-p", "1"), ("--temperature", "1", "--top-p", "1e-9"),
                  ("--temperature", "1", "--set", "sampling.presence_penalty=1e6"), ("--set", "sampling.repetition_penalty=1e-6"),
                  ("--set", "sampling.logit_bias=['3:1e9', '3:1e9', '4:-1e9']")):
        done = run(*generate, *flags)
        check(done.returncode == 0, f"{' '.join(flags)}: {done.stderr.strip()[:120]}")


def threads_table(model, folder):
    study = write(folder, "threads.yaml", STUDY % (model, 1) + "sampling: {temperature: 1e-320}\nsweep: {sampling.top_k: [0]}\n")
    words = ["processor", "oversubscribe"]
    refused("generate with more threads than processors", ["--threads", "4096", *words], "generate", "--model", model, "--ids", "1", "--threads", 4096)
    refused("bench with more threads than processors", ["--threads", *words], "bench", "model", "--model", model, "--threads", 4096)
    for command in ("run", "check"):
        refused(f"{command} with more threads than processors", ["run.threads", *words], command, study, "--set", "run.threads=1000")
    with_threads = write(folder, "more.yaml", (STUDY % (model, 1)).replace("warmup: 0", "warmup: 0, threads: 1000"))
    refused("where a study says it", ["more.yaml:4", "1000", *words], "check", with_threads)
    one_more = len(os.sched_getaffinity(0)) + 1
    check(run("check", study, "--set", f"run.threads={one_more}", "--oversubscribe").returncode == 0, "--oversubscribe insists")
    check(run("check", study, "--set", f"run.threads={one_more}", "--set", "run.oversubscribe=true").returncode == 0, "so does the key")
    check(run("generate", "--model", model, "--ids", "1", "--max-new-tokens", 2, "--threads", one_more, "--oversubscribe").returncode == 0, "in generate as well")
    done = run("generate", "--model", model, "--ids", "1", "--threads", 2, preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}))
    check(done.returncode == 2 and "the 1 processor " in done.stderr, f"what the process may use counts: {done.stderr.strip()}")


def pipes_table(model, folder):
    fifo = os.path.join(folder, "fifo.yaml")
    os.mkfifo(fifo)
    jsonl = os.path.join(folder, "fifo.jsonl")
    os.mkfifo(jsonl)
    text = write(folder, "pipes.yaml", STUDY % (model, 1))
    refused("a pipe in place of a study", ["fifo.yaml", "regular"], "check", fifo, timeout=20)
    refused("a pipe in place of a training file", ["fifo.yaml", "regular"], "train", fifo, timeout=20)
    refused("a pipe in place of prompts", ["fifo.jsonl", "regular"], "check", text, "--set", f"workload={{type: jsonl, file: {jsonl}}}", timeout=20)
    refused("a pipe in place of a plug-in", ["fifo.yaml", "regular"], "list", "--plugin", fifo, timeout=20)
    refused("a device in place of a study", ["/dev/zero", "regular"], "check", "/dev/zero", timeout=20)
    refused("a folder in place of a study", ["folder"], "check", folder, timeout=20)
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        copy = os.path.join(folder, "piped-" + name)
        shutil.copytree(model, copy)
        if os.path.exists(os.path.join(copy, name)):
            os.remove(os.path.join(copy, name))
        os.mkfifo(os.path.join(copy, name))
        refused(f"a pipe in place of {name}", [name, "regular"], "generate", "--model", copy, "--ids", "1", timeout=20)


def limits_table(model, folder):
    study = write(folder, "limits.yaml", STUDY % (model, 40))
    out = os.path.join(folder, "limited")

    def limit(what, size):
        return lambda: resource.setrlimit(what, (size, size))

    done = refused("a file that reaches its limit", ["cannot be written"], "run", study, "--out", out, preexec_fn=limit(resource.RLIMIT_FSIZE, 12000))
    check(done.returncode != -signal.SIGXFSZ, "is no signal")
    rows = sum(len(open(os.path.join(root, name)).readlines()) for root, _, names in os.walk(out) for name in names if name == "generations.jsonl")
    check(rows > 0, f"what was finished is kept: {rows} answers")
    check(run("run", study, "--out", out).returncode == 0, "and the run goes on from there")
    if has_shadow_memory():
        return
    # Enough to start, too little for a cache of this length.
    big = make_random(folder, "long", max_position_embeddings=1 << 24)
    done = run("bench", "model", "--model", big, "--context", 1 << 23, "--rows", "1", preexec_fn=limit(resource.RLIMIT_AS, 3 << 30))
    lines = done.stderr.strip().split("\n")
    check(done.returncode == 2 and len(lines) == 1 and lines[0].startswith("foretell: ") and "memory" in lines[0],
          f"memory that cannot be had: exit {done.returncode}: {done.stderr.strip()[:200]}")


def little_memory_table(model, folder):
    """From the loader's limit up: one line, or the work is done. docs/reference/performance.md names both limits."""
    def at(kib, stack=None):
        def set_limits():
            if stack:
                resource.setrlimit(resource.RLIMIT_STACK, (stack, stack))
            resource.setrlimit(resource.RLIMIT_AS, (kib << 10, kib << 10))
        return set_limits

    if has_shadow_memory():
        return
    check(run("--version", preexec_fn=at(100000)).returncode == 0, "100000 KiB are enough for commands that run no model")
    # Libraries differ from build to build: the program says what it needs itself, once the loader has got through.
    start = 395000
    while (done := run("run", "--help", preexec_fn=at(start))).returncode == 127 and start < 16 << 20:
        start += start // 64
    fits = done.returncode == 2 and re.fullmatch(r"foretell: not enough memory: [^\n]* starts with (\d+) KiB [^\n]*\n", done.stderr)
    check(bool(fits), f"{start} KiB: {done.stderr.strip()[:200]} [exit {done.returncode}]")
    if not fits:
        return
    need = int(fits.group(1))
    for kib in range(start + 4000, need - 1000, max(1, (need - start) // 6)):
        refused(f"{kib} KiB", ["not enough memory", f"{need} KiB"], "run", "--help", preexec_fn=at(kib))
    check(run("run", "--help", preexec_fn=at(need + 4000)).returncode == 0, f"{need + 4000} KiB are enough to start")
    work = ("generate", "--model", model, "--ids", "1 2 3", "--max-new-tokens", 4, "--threads")
    check(run(*work, 1, preexec_fn=at(need + 4000)).returncode == 0, "and for a small model")
    refused("threads that cannot be started", ["of 400 threads", "8192 KiB"], *work, 400, "--oversubscribe", preexec_fn=at(need + 100000, 8 << 20))
    # OpenMP's own setting for the size of stacks counts as well.
    ENVIRONMENT["OMP_STACKSIZE"] = "2G"
    try:
        refused("a thread whose stack has no room", ["1 of 2 threads", "2097152 KiB"], *work, 2, "--oversubscribe", preexec_fn=at(need + 500000))
    finally:
        del ENVIRONMENT["OMP_STACKSIZE"]


def broken_draft_table(model, folder):
    draft = os.path.join(folder, "nan-draft")
    shutil.copytree(model, draft)
    weights = os.path.join(draft, "model.safetensors")
    data = open(weights, "rb").read()
    size = struct.unpack("<Q", data[:8])[0]
    with open(weights, "wb") as file:
        file.write(data[:8 + size] + b"\xff\xff\xff\x7f" * ((len(data) - 8 - size) // 4))
    generate = ("generate", "--ids", "1 2 3", "--max-new-tokens", 4)
    for temperature in ("0", "1"):
        refused(f"NaN in a draft's logits at temperature {temperature}", ["the draft model's logits", "NaN", "step 0"], *generate, "--model", model, "--draft-model", draft,
                "--temperature", temperature)
        refused(f"NaN in a target's logits at temperature {temperature}", ["the target's logits", "NaN", "step 0"], *generate, "--model", draft, "--draft-model", model,
                "--temperature", temperature)
    study = write(folder, "nan.yaml", (STUDY % (model, 2)).replace("model: {", f"model: {{draft: {draft}, ") + "pipeline: {drafter: {type: model}}\n")
    refused("and in a run", ["the draft model's logits", "prompt 1", "step 0"], "run", study, "--out", os.path.join(folder, "nan"))


def sweep_table(model, folder):
    study = write(folder, "sweep.yaml", STUDY % (model, 1) + "pipeline: {drafter: {type: prompt_lookup}}\n")
    cells = lambda *overrides: run("check", study, *[part for override in overrides for part in ("--set", override)]).stdout.strip()
    check(cells("sweep.pipeline.drafter.num_speculative_tokens=[1,3]") == "ok: 2 cells", "a sweep by --set")
    check(cells("sweep.drafter.num_speculative_tokens=[1,3,5]", "sweep.sampling.temperature=[0,1]") == "ok: 6 cells", "and a grid, by the short names")
    check(cells("sweep.zip.drafter.num_speculative_tokens=[1,3]", "sweep.zip.run.seed=[1,2]") == "ok: 2 cells", "and the forms")
    swept = write(folder, "swept.yaml", STUDY % (model, 1) + "sweep: {drafter: [{type: none}, {type: prompt_lookup}], run.seed: [1, 2]}\n")
    done = run("check", swept, "--set", "sweep.pipeline.drafter=[{type: none}]")
    check(done.stdout.strip() == "ok: 2 cells", f"what the file sweeps is replaced, however it is spelt: {done.stdout}{done.stderr}")
    refused("a sweep of one value", ["--set sweep.run.seed", "list"], "check", study, "--set", "sweep.run.seed=3")
    listed = write(folder, "listed.yaml", STUDY % (model, 1) + "sweep:\n  - {cells: [{run.seed: 1}]}\n")
    refused("a path into a list of sweeps", ["--set 'sweep="], "check", listed, "--set", "sweep.run.seed=[1]")
    many = write(folder, "many.yaml", STUDY % (model, 1) + f"sweep:\n  cells: [{'{run.seed: 1},' * 10001}]\n")
    refused("more cells than anybody wants", ["many.yaml:6", "10001 cells", "10000"], "check", many)


with temporary_folder() as temporary:
    tiny = make_random(temporary)
    for table in (escapes_table, numbers_table, threads_table, pipes_table, limits_table, little_memory_table, broken_draft_table, sweep_table):
        case(lambda table=table: table(tiny, temporary))
    case(cases_table)
finish()
