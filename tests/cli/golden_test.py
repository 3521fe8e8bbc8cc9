"""Real checkpoints, real text and the recorded run of a real model: needs FORETELL_DATA."""

import json
import os

from support import *

TASKS = ["mt_bench", "translation", "summarization", "qa", "math_reasoning", "rag"]


def goldens(name, folder):
    model = os.path.join(DATA, "golden/hf", name)
    tensors = read_safetensors(os.path.join(model, "golden.safetensors"))
    _, (batch, length), ids = tensors["input_ids"]
    greedy = tensors["greedy"][2]
    prompt = " ".join(map(str, ids[:length]))
    for more in ([], ["--draft-model", model], ["--drafter", "prompt_lookup", "--set", "drafter.num_speculative_tokens=3"]):
        out = run_json("generate", "--model", model, "--ids", prompt, "--max-new-tokens", len(greedy), "--ignore-eos", "--dtype", "f32", "--json", *more)
        check(out["token_ids"] == greedy, f"{name}: {len(greedy)} greedy tokens {' '.join(more[:2])}")
    path = os.path.join(folder, name + ".safetensors")
    write_safetensors(path + ".in", {"input_ids": ("I32", [batch, length], ids)})
    run_ok("score", "--model", model, "--ids-file", path + ".in", "--out", path)
    worst = max(abs(a - b) for a, b in zip(read_safetensors(path)["logits"][2], tensors["logits"][2]))
    check(worst < 1e-4, f"{name}: logits within 1e-4 (worst {worst:.1e})")


def stories(folder):
    weights = os.path.join(DATA, "data/weights")
    expected = json.load(open(os.path.join(weights, "EXPECTED.json")))["stories260K/stories260K.bin"]
    plain = None
    for file in ("stories260K.bin", "stories260K_v1.bin"):
        model = os.path.join(folder, file)
        run_ok("import", "llama2c", os.path.join(weights, "stories260K", file), "--tokenizer", os.path.join(weights, "stories260K/tok512.bin"), "--out", model)
        out = run_json("generate", "--model", model, "--prompt", "", "--max-new-tokens", 200, "--json")
        check(out["prompt_ids"] == [1] and out["token_ids"] == expected["greedy_from_BOS_ids"][1:], f"{file}: the 200 tokens")
        check(out["text"] == expected["text"], f"{file}: the text")
        plain = model
    letters = os.path.join(folder, "babyllama")
    run_ok("import", "llama2c", os.path.join(weights, "babyllama105/babyllama105.bin"), "--tokenizer", os.path.join(weights, "babyllama105/tok105.model"),
           "--out", letters)
    story = ("generate", "--model", plain, "--prompt", "Once upon a time, there was a little dog", "--max-new-tokens", 80, "--json")
    alone = run_json(*story)
    for method in ("intersection", "text"):
        drafted = run_json(*story, "--draft-model", letters, "--drafter", "universal", "--set", f"drafter.method={method}")
        check(drafted["token_ids"] == alone["token_ids"], f"a draft that writes letters changes no token: {method}")
    check(drafted["mean_acceptance_length"] > 1.5, f"its text is accepted: {drafted['mean_acceptance_length']:.2f} tokens a round")
    streamed = run_ok("generate", "--model", plain, "--prompt", "", "--max-new-tokens", 200)
    check(streamed.rstrip("\n") == expected["text"].rstrip("\n"), "the streamed text is the same")
    own = run_json("generate", "--model", plain, "--prompt", "Once upon", "--max-new-tokens", 60, "--json", "--draft-model", plain)
    alone = run_json("generate", "--model", plain, "--prompt", "Once upon", "--max-new-tokens", 60, "--json")
    check(own["text"] == alone["text"] and own["mean_acceptance_length"] > 3, "speculating changes no word")
    stopped = run_json("generate", "--model", plain, "--prompt", "", "--max-new-tokens", 200, "--json", "--stop", "Lily. She")
    check(stopped["text"] == expected["text"].split("Lily. She")[0], "a stop string that spans tokens ends the answer")
    ids = run_json("tokenize", "--model", plain, "--text", "Once upon a time", "--json")["ids"]
    check(run_json("tokenize", "--model", plain, "--decode", " ".join(map(str, ids)), "--json")["text"].strip() == "Once upon a time", "tokenize and back")


def other_imports(folder):
    """Ternary models and a character-level one: the 200 tokens that were computed elsewhere, plain and speculated."""
    weights = os.path.join(DATA, "data/weights")
    expected = json.load(open(os.path.join(weights, "EXPECTED.json")))
    draft = os.path.join(folder, "stories260K.bin")
    words = os.path.join(weights, "stories260K/tok512.bin")
    for file in ("bitllama_1M.bin", "bitllama_3M.bin"):
        model = os.path.join(folder, file)
        run_ok("import", "bitllama", os.path.join(weights, "bitllama", file), "--tokenizer", words, "--out", model)
        for more in ([], ["--draft-model", draft]):
            out = run_json("generate", "--model", model, "--prompt", "", "--max-new-tokens", 200, "--json", *more)
            check(out["prompt_ids"] + out["token_ids"] == expected["bitllama/" + file]["greedy_from_BOS_ids"], f"{file}: the 200 tokens {' '.join(more[:1])}")
            check(out["text"] == expected["bitllama/" + file]["text"], f"{file}: the text")
    baby = os.path.join(folder, "babyllama105")
    run_ok("import", "llama2c", os.path.join(weights, "babyllama105/babyllama105.bin"), "--tokenizer", os.path.join(weights, "babyllama105/tok105.model"), "--out", baby)
    known = expected["babyllama105/babyllama105.bin"]
    out = run_json("generate", "--model", baby, "--prompt", "", "--max-new-tokens", 200, "--json")
    check(out["prompt_ids"] + out["token_ids"] == known["greedy_from_BOS_ids"] and out["text"] == known["text"].lstrip(" "), "babyllama105: tokens and text")
    ids = run_json("tokenize", "--model", baby, "--text", "a\u65e5b", "--json")["ids"]
    check(0 in ids and len(ids) == 4, "babyllama105: an unknown character is id 0")


def real_spec_bench(folder):
    """Two questions with two turns through a real, if tiny, model: the rows are FastChat's."""
    study = os.path.join(folder, "real.yaml")
    with open(study, "w") as file:
        file.write("study: real\nmodel: {target: %s}\npipeline: {drafter: {type: prompt_lookup}}\n"
                   "workload: {type: prompts, prompts: [a]}\n" % os.path.join(folder, "stories260K.bin"))
    questions = os.path.join(folder, "question.jsonl")
    with open(questions, "w") as file:
        for number in (1, 2):
            file.write(json.dumps({"question_id": number, "category": "writing", "turns": ["Lily had a ball.", "Tom had a dog."]}) + "\n")
    out = run_json("run", study, "--out", os.path.join(folder, "results"), "--json", "--set",
                   "workload={type: spec_bench, file: %s, max_new_tokens: 24}" % questions)
    cell = out["cells"][0]
    rows = [json.loads(line) for line in open(os.path.join(cell["folder"], "answers.jsonl"))]
    check([row["question_id"] for row in rows] == [1, 2], "answers.jsonl: one row a question")
    choice = rows[0]["choices"][0]
    check(len(choice["turns"]) == 2 and sum(choice["accept_lengths"]) == sum(choice["new_tokens"]), "answers.jsonl: accept_lengths add up to new_tokens")
    check(len(choice["accept_lengths"]) == sum(choice["decoding_steps"]), "answers.jsonl: one accept length a round")
    check(list(cell["tasks"]) == ["mt_bench", "overall"] and cell["tasks"]["overall"]["requests"] == 4, "two turns each, reported as mt_bench")


def real_pair(folder):
    """A study that imports its models itself; what is measured lies near what overlap predicts."""
    study = os.path.join(SOURCE, "configs/studies/real_pair.yaml")
    out = run_json("run", study, "--out", os.path.join(folder, "pair"), "--json", "--set", "workload.count=6", "--set", "workload.max_new_tokens=64",
                   "--set", "pipeline.drafter.num_speculative_tokens=4")
    for cell, agreement in zip(out["cells"], (0.724, 0.765)):
        overall, prediction = cell["tasks"]["overall"], cell["prediction"]
        check(abs(prediction["expected_acceptance_on_text"] - agreement) < 0.02, f"real pair: {prediction['expected_acceptance_on_text']:.3f} of drafts fit the corpus")
        length, expected = overall["mean_acceptance_length"], prediction["mean_acceptance_length_on_output"]
        check(abs(length - expected) < 0.5, f"real pair: {length:.3f} tokens a round, {expected:.3f} predicted from its own output")
    check(out["cells"][0]["tasks"]["overall"]["same_as_baseline"] == 1.0, "real pair: greedy tokens are the target's own")


def replay(folder):
    study = os.path.join(SOURCE, "configs/studies/specbench_replay.yaml")
    check(run_ok("check", study) == "ok: 1 cell\n", "replay: check")
    tasks = run_json("run", study, "--out", os.path.join(folder, "replay"), "--json")["cells"][0]["tasks"]
    length = tasks["overall"]["mean_acceptance_length"]
    check(list(tasks) == TASKS + ["overall"], "replay: all six tasks")
    check(1.73 <= length <= 1.75, f"replay: prompt lookup on 480 recorded answers: {length:.4f} (published 1.73 to 1.75)")
    check(abs(tasks["overall"]["tokens"] - 91800) < 100, f"replay: {tasks['overall']['tokens']} tokens, recorded 91800")
    check(tasks["overall"]["speedup"] is None and tasks["overall"]["tokens_per_second"] is None, "replay: no speed is claimed")


def main(folder):
    for name in ("llama", "llama3-rope", "qwen2", "gpt2", "mistral", "qwen3", "mixtral", "qwen2_moe"):
        case(lambda: goldens(name, folder))
    case(lambda: stories(folder))
    case(lambda: other_imports(folder))
    case(lambda: real_spec_bench(folder))
    case(lambda: real_pair(folder))
    case(lambda: replay(folder))


if DATA:
    DATA = os.environ["FORETELL_DATA"] = os.path.abspath(DATA)
    with temporary_folder() as temporary:
        main(temporary)
else:
    for what in ("goldens", "stories260K", "ternary and character models", "a real Spec-Bench run", "the real pair", "the replay study"):
        skip(what)
finish()
