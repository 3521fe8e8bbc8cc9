"""Folders as people have them: a draft with other padding, a chat template of its own, heads and adapters in a model's place, ties in bf16."""

import json
import os
import shutil

from support import *

CHATML = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
OTHER = "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
PROMPT = "What is the code of the red box?"


def give_tokenizer(folder, template=None):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(SOURCE, "models/tokenizer", name), folder)
    if template is not None:
        path = os.path.join(folder, "tokenizer_config.json")
        config = json.load(open(path))
        config["chat_template"] = template
        with open(path, "w") as file:
            json.dump(config, file)


def padded_draft(folder):
    """Rows of padding, more of them in the draft or in the target, change no token."""
    ids = 2051  # of the tokenizer
    models = {rows: make_random(folder, f"padded-{rows}", seed, vocab_size=rows, eos_token_id=None) for rows, seed in ((ids + 5, 1), (ids + 77, 2))}
    for model in models.values():
        give_tokenizer(model)
    for target, draft in (models.values(), reversed(models.values())):
        common = ("generate", "--model", target, "--prompt", PROMPT, "--max-new-tokens", 24, "--ignore-eos", "--threads", 1, "--json")
        plain = run_json(*common)["token_ids"]
        for more in ((), ("--set", "tree.type=eagle2"), ("--drafter", "cascade", "--set", "drafter.drafter={type: prompt_lookup}")):
            drafted = run_json(*common, "--draft-model", draft, *more)
            check(drafted["token_ids"] == plain, f"padding: {os.path.basename(draft)} drafts for {os.path.basename(target)} {' '.join(more[:2])}")
        sampled = run_ok("generate", "--model", target, "--prompt", PROMPT, "--max-new-tokens", 24, "--ignore-eos", "--threads", 1, "--temperature", 1,
                         "--draft-model", draft, "--show-rounds")
        check(sampled, "padding: at temperature 1")
        text = os.path.join(folder, "text.txt")
        with open(text, "w") as file:
            file.write("The code of the red box is 17. " * 40)
        overlap = run_json("overlap", "--model", target, "--draft-model", draft, "--text", text, "--windows", 2, "--window-tokens", 20, "--json")
        check(0 < overlap["expected_acceptance"] < 1, "padding: overlap is measured")
    bare = make_random(folder, "bare", 3, vocab_size=ids + 9)
    refused = run("generate", "--model", models[ids + 5], "--prompt", PROMPT, "--draft-model", bare)
    check(refused.returncode == 2 and f"a vocabulary of {ids + 9} tokens, the target has {ids + 5}" in refused.stderr and "tokenizer" in refused.stderr,
          "padding: without a tokenizer nobody knows that it is padding")


def other_tokenizer(folder):
    """Of equal size: a few renamed ids are named once, another tokenizer is refused with the first id that differs."""
    def model_with(name, seed, rename):
        model = make_random(folder, name, seed, vocab_size=2051)
        give_tokenizer(model)
        path = os.path.join(model, "tokenizer.json")
        document = json.load(open(path))
        rename(document)
        os.remove(path)
        with open(path, "w") as file:
            json.dump(document, file)
        return model

    def exchange(document, first, second):  # the spellings of two ids
        vocab = document["model"]["vocab"]
        spelled = {id: text for text, id in vocab.items()}
        vocab[spelled[first]], vocab[spelled[second]] = second, first

    target = model_with("tok-target", 1, lambda document: None)
    few = model_with("tok-few", 2, lambda document: exchange(document, 700, 701))
    other = model_with("tok-other", 2, lambda document: [exchange(document, id, id + 40) for id in range(700, 720)])
    common = ("generate", "--model", target, "--prompt", PROMPT, "--max-new-tokens", 6, "--ignore-eos", "--threads", 1, "--draft-model")
    done = run(*common, few)
    check(done.returncode == 0 and done.stderr.count("2 of 2048 ids are other tokens to the draft model than to its target, first 700:") == 1,
          "a few other ids are named: " + done.stderr.strip()[-160:])
    done = run(*common, other)
    check(done.returncode == 2 and "has another tokenizer than the target: 40 of 2048 ids differ, first 700," in done.stderr and
          done.stderr.count("\n") == 1, "another tokenizer is refused: " + done.stderr.strip()[-160:])
    check(run(*common, target).stderr.count("note:") == 0, "nothing is said of one and the same")


def own_template(folder):
    """A known template is used, another one is named once, and a choice of the user's wins silently."""
    model = make_random(folder, "chat", 4, vocab_size=2051)
    common = ("generate", "--model", model, "--prompt", PROMPT, "--max-new-tokens", 2, "--ignore-eos", "--json")
    give_tokenizer(model)
    bare = json.loads(run_ok(*common))["prompt_ids"]
    chosen = json.loads(run_ok(*common, "--chat-template", "chatml"))["prompt_ids"]
    give_tokenizer(model, CHATML)
    done = run(*common)
    check(json.loads(done.stdout)["prompt_ids"] == chosen != bare and "note:" not in done.stderr, "a model's own ChatML is used")
    none = run(*common, "--chat-template", "none")
    check(json.loads(none.stdout)["prompt_ids"] == bare and "note:" not in none.stderr, "--chat-template wins")
    study = os.path.join(folder, "chat.yaml")
    with open(study, "w") as file:
        file.write("study: chat\nmodel: {target: %s}\nworkload: {type: prompts, prompts: [\"%s\", b], max_new_tokens: 4, ignore_eos: true}\n"
                   "pipeline: {drafter: {type: prompt_lookup}}\n" % (model, PROMPT))
    cell = run_json("run", study, "--out", os.path.join(folder, "chatml"), "--json")["cells"][0]
    rows = [json.loads(line) for line in open(os.path.join(cell["folder"], "generations.jsonl"))]
    check(len(chosen) in {row["prompt_tokens"] for row in rows}, "in a study too")
    check(json.load(open(os.path.join(cell["folder"], "manifest.json")))["chat_template"] == "chatml", "the manifest names it")

    give_tokenizer(model, OTHER)
    done = run(*common)
    check(json.loads(done.stdout)["prompt_ids"] == bare, "a template that is not known is not used")
    check(done.stderr.count("tokenizer_config.json: the model's own chat template is none of the known ones (vicuna, llama-3, chatml, none)") == 1,
          "and is named: " + done.stderr[:120])
    give_tokenizer(model, "{% set ns = namespace() %}" + OTHER)
    check("(vicuna, llama-3, chatml, none): it has the function 'namespace', which is not understood" in run(*common).stderr,
          "the construct that stands in the way is named")
    check("note:" not in run(*common, "--chat-template", "none").stderr, "but not where the user has chosen")
    done = run("run", study, "--out", os.path.join(folder, "other"))
    check(done.returncode == 0 and done.stderr.count("own chat template") == 1, "in a study once")
    with open(os.path.join(model, "chat_template.jinja"), "w") as file:
        file.write(CHATML)
    check(json.loads(run_ok(*common))["prompt_ids"] == chosen, "chat_template.jinja comes first")


def other_kinds(folder):
    """Exit code 2 and one line that says what it is."""
    def refused(name, parts, **files):
        path = os.path.join(folder, name)
        os.makedirs(path, exist_ok=True)
        for file, content in files.items():
            with open(os.path.join(path, file.replace("__", ".")), "w") as out:
                out.write(content if isinstance(content, str) else json.dumps(content))
        done = run("generate", "--model", path, "--ids", "1 2")
        check(done.returncode == 2 and done.stderr.count("\n") == 1 and all(part in done.stderr for part in parts), f"{name}: {done.stderr.strip()[-150:]}")

    refused("eagle3", ["a draft head (EAGLE-3)"], config__json={"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama"})
    refused("medusa", ["a draft head (Medusa)"], config__json={"medusa_num_heads": 5, "medusa_num_layers": 1})
    refused("lora", ["an adapter (LORA of 'x/y')", "merge"], adapter_config__json={"peft_type": "LORA", "base_model_name_or_path": "x/y"})
    refused("gguf", ["GGUF is not read"], model__gguf="GGUF")
    refused("fp8", ["quantised weights cannot be read"],
            config__json={"architectures": ["LlamaForCausalLM"], "model_type": "llama", "quantization_config": {"quant_method": "fp8"}})


def ties(folder):
    """Penalties in bf16: a token that differs from plain decoding is one that `generate` names and that `diff` calls a tie."""
    model = os.path.join(SOURCE, "models/target")
    for penalties in (("repetition_penalty=1.2", "presence_penalty=-1"), ("repetition_penalty=1.3",)):
        settings = [part for penalty in penalties for part in ("--set", "sampling." + penalty)]
        common = ("generate", "--model", model, "--prompt", "The boy walked to the", "--max-new-tokens", 60, "--json", "--threads", 1, *settings)
        for dtype in ("bf16", "f32"):
            plain = run_json(*common, "--dtype", dtype)
            check(plain["near_ties"] is None, f"{dtype}: plain decoding has nothing to say about ties")
            for more in (("--draft-model", os.path.join(SOURCE, "models/draft")), ("--drafter", "prompt_lookup")):
                drafted = run_json(*common, "--dtype", dtype, *more)
                at = next((i for i, (a, b) in enumerate(zip(plain["token_ids"], drafted["token_ids"])) if a != b), None)
                if dtype == "f32":
                    check(at is None and drafted["near_ties"] is None, f"f32: {more[1]} says what plain decoding says")
                else:
                    named = {tie["position"] for tie in drafted["near_ties"]}
                    check(at is None or at in named, f"bf16: {more[1]} differs nowhere but at a near tie (token {at})")
    done = run(*[part for part in common if part != "--json"], "--dtype", "bf16", "--drafter", "prompt_lookup")
    check("logits are nearer to one another than bf16 tells apart" in done.stderr, "the note of the text output")
    study = os.path.join(folder, "ties.yaml")
    with open(study, "w") as file:
        file.write("study: ties\nmodel: {target: %s, dtype: bf16}\nworkload: {type: prompts, prompts: [The boy walked to the], chat_template: none, "
                   "max_new_tokens: 60}\nsampling: {repetition_penalty: 1.2, presence_penalty: -1}\npipeline: {drafter: {type: prompt_lookup}}\n"
                   "baseline: {drafter: {type: none}}\nrun: {repeats: 1, warmup: 0, threads: 1}\n" % model)
    cell = run_json("run", study, "--out", os.path.join(folder, "ties"), "--json")["cells"][0]["folder"]
    done = run("diff", cell)
    check(done.returncode == 0 and "0 differ and are not explained" in done.stdout, "diff judges behind the penalties: " + done.stdout.strip()[-80:])


def outside_cases(folder):
    """FORETELL_DATA/cases: a tied config beside another head, and a llama with a key that its family does not read."""
    cases = os.path.join(os.path.abspath(DATA), "cases")
    def logits(model, ids):
        out = os.path.join(folder, "out.safetensors")
        run_ok("score", "--model", model, "--ids-file", ids, "--out", out)
        return read_safetensors(out)["logits"][2]
    tied = os.path.join(cases, "tied_with_other_head")
    ids = os.path.join(tied, "ids.safetensors")
    expected = read_safetensors(os.path.join(tied, "expected_untied.safetensors"))["logits"][2]
    worst = max(abs(a - b) for a, b in zip(logits(tied, ids), expected))
    check(worst < 1e-4, f"a stored head beside a tied embedding is used ({worst:.1e})")
    partial = os.path.join(cases, "partial_rotary_llama")
    without = os.path.join(folder, "without")
    shutil.copytree(partial, without)
    config = json.load(open(os.path.join(partial, "config.json")))
    del config["partial_rotary_factor"]
    os.chmod(without, 0o755)
    os.remove(os.path.join(without, "config.json"))
    with open(os.path.join(without, "config.json"), "w") as file:
        json.dump(config, file)
    check(logits(partial, ids) == logits(without, ids), "llama leaves partial_rotary_factor aside, as Transformers does")


with temporary_folder() as temporary:
    for test in (padded_draft, other_tokenizer, own_template, other_kinds, ties):
        case(lambda: test(temporary))
    if DATA:
        case(lambda: outside_cases(temporary))
    else:
        skip("cases of checkpoints")
finish()
