"""`foretell datastore build` and the drafters that draw on text and on scores, through the executable."""

import json
import os

from support import *

TARGET = os.path.join(SOURCE, "models/target")
PROMPT = "<|im_start|>user\nWhat is 17 plus 25?<|im_end|>\n<|im_start|>assistant\n"


def generate(*options):
    return run_json("generate", "--model", TARGET, "--prompt", PROMPT, "--max-new-tokens", 40, "--ignore-eos", "--json", *options)


def refused(what, *arguments):
    done = run(*arguments)
    message = done.stderr.strip()
    check(done.returncode == 2 and what in message and "\n" not in message, f"{what!r}: exit {done.returncode}: {message}")


def main(folder):
    path = lambda name: os.path.join(folder, name)
    plain = generate()
    with open(path("answer.txt"), "w") as file:
        file.write(plain["text"])
    with open(path("answers.jsonl"), "w") as file:
        file.write(json.dumps({"question_id": 1, "choices": [{"turns": [plain["text"], "something else"]}]}) + "\n")

    for kind, name, documents in (("--text", "answer.txt", 1), ("--answers", "answers.jsonl", 2)):
        out = run_ok("datastore", "build", "--model", TARGET, kind, path(name), "--out", path("store"))
        check(f"tokens of {documents} document{'s' if documents > 1 else ''}" in out, f"{kind}: {out.strip()}")
        drafted = generate("--drafter", "rest", "--set", "drafter.datastore=" + path("store"), "--set", "drafter.shortest_match=1")
        check(drafted["text"] == plain["text"], f"{kind}: REST changes no token")
        check(drafted["rounds"] < plain["rounds"], f"{kind}: {drafted['rounds']} rounds, plain {plain['rounds']}")
    for drafter in ("lookahead", "token_recycling", "ant_trie", "rest"):
        check(generate("--drafter", drafter)["text"] == plain["text"], f"{drafter} changes no token")

    refused("exactly one of --model and --tokenizer", "datastore", "build", "--text", path("answer.txt"), "--out", path("x"))
    refused("needs --text or --answers", "datastore", "build", "--model", TARGET, "--out", path("x"))
    with open(path("empty.txt"), "w"):
        pass
    refused("a datastore needs at least one token", "datastore", "build", "--model", TARGET, "--text", path("empty.txt"), "--out", path("x"))
    check(not os.path.exists(path("x")), "nothing is written where nothing can be built")
    with_store = ("generate", "--model", TARGET, "--prompt", "a", "--drafter", "rest", "--set")
    refused("is no datastore", *with_store, "drafter.datastore=" + path("answers.jsonl"))
    refused("no such file or folder", *with_store, "drafter.datastore=" + path("none"))


with temporary_folder() as temporary:
    main(temporary)
finish()
