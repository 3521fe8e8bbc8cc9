"""`foretell train` end to end: a run that is killed goes on as if it had not been, Ctrl-C leaves a checkpoint, mistakes are one line."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time

from support import *

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
          "num_key_value_heads": 2, "intermediate_size": 64, "vocab_size": 259, "max_position_embeddings": 1024, "rms_norm_eps": 1e-5,
          "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": True}
TRAINING = """train: small
model: {config: model.json, tokenizer: tokenizer}
data: {families: [qa, arithmetic], prompt_weight: 0.1}
optimizer: {learning_rate: 3.0e-3, warmup_steps: 5}
batch: {rows: 2, length: 1000}
run: {steps: 30, threads: 1, checkpoint_every: 4, eval_every: 15, eval_prompts: 1, log_every: 1, save_dtype: f32}
"""


def byte_tokenizer():
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in visible}
    letters.update({byte: chr(256 + i) for i, byte in enumerate(b for b in range(256) if b not in letters)})
    added = [{"id": 256 + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i, text in enumerate(("<|im_start|>", "<|im_end|>", "<|endoftext|>"))]
    return {"version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
            "post_processor": None, "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "vocab": {letters[byte]: byte for byte in range(256)}, "merges": []}}


def prepare(folder):
    os.mkdir(os.path.join(folder, "tokenizer"))
    json.dump(byte_tokenizer(), open(os.path.join(folder, "tokenizer", "tokenizer.json"), "w"))
    json.dump({"eos_token": "<|endoftext|>"}, open(os.path.join(folder, "tokenizer", "tokenizer_config.json"), "w"))
    json.dump(CONFIG, open(os.path.join(folder, "model.json"), "w"))
    path = os.path.join(folder, "train.yaml")
    open(path, "w").write(TRAINING)
    return path


def curve(out):
    """step -> loss, as text: equal text is an equal number."""
    lines = open(os.path.join(out, "curve.csv")).read().splitlines()
    column = lines[0].split(",").index("loss")
    return {line.split(",")[0]: line.split(",")[column] for line in lines[1:]}


def weights(out):
    return open(os.path.join(out, "model.safetensors"), "rb").read()


def start(*arguments):
    return subprocess.Popen([BIN, "train", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def wait_for(path, seconds=60):
    end = time.time() + seconds
    while not os.path.exists(path) and time.time() < end:
        time.sleep(0.02)


def refused(what, words, *arguments):
    done = run("train", *arguments)
    lines = done.stderr.rstrip("\n").split("\n")
    fits = done.returncode == 2 and lines[-1].startswith("foretell: ") and all(word in lines[-1] for word in words)
    check(fits, f"{what}: {done.stderr.strip()[:250]}" + ("" if fits else f" [exit {done.returncode}, expected {words}]"))


def main(folder):
    training = prepare(folder)
    straight = os.path.join(folder, "straight")

    def a_run_leaves_a_model():
        done = run("train", training, "--out", straight)
        check(done.returncode == 0 and done.stdout == straight + "\n", f"train: {done.stderr[-200:]}")
        check("tokens/s" in done.stderr and "held-out loss" in done.stderr and "exact match" in done.stderr, "progress and evaluation are told")
        files = set(os.listdir(straight))
        wanted = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "curve.csv", "curve.svg",
                  "train.resolved.yaml", "README.md", "checkpoint"}
        check(wanted <= files, f"what is left behind: {sorted(files)}")
        losses = curve(straight)
        check(len(losses) == 30 and float(losses["30"]) < float(losses["1"]) - 0.5, f"the loss falls: {losses['1']} to {losses['30']}")
        text = run_json("generate", "--model", straight, "--prompt", "What?", "--chat-template", "chatml", "--max-new-tokens", 5, "--json")
        check(len(text["token_ids"]) > 0, "the model generates")
        again = run("train", training, "--out", straight)
        check(again.returncode == 0 and "all 30 steps are done" in again.stdout, "a run that is done is not begun again")

    def killed_runs_go_on():
        out = os.path.join(folder, "killed")
        for kill in (1, 2):
            process = start(training, "--out", out)
            wait_for(os.path.join(out, "checkpoint", "state.safetensors"))
            time.sleep(0.3 * kill)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        done = run("train", training, "--out", out)
        check(done.returncode == 0, f"a killed run goes on: {done.stderr[:120]}")
        check(curve(out) == curve(straight), "after two kills: the same curve, digit for digit")
        check(weights(out) == weights(straight), "after two kills: the same weights, bit for bit")

    def interrupted_runs_keep_their_state():
        out = os.path.join(folder, "interrupted")
        process = start(training, "--out", out)
        wait_for(os.path.join(out, "checkpoint", "state.safetensors"))
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
        check(process.returncode in (0, 130), f"Ctrl-C: exit {process.returncode}")
        if process.returncode == 130:
            check("interrupted after step" in error and "the same command goes on" in error, f"Ctrl-C says what to do: {error[-150:]}")
        check(run("train", training, "--out", out).returncode == 0 and weights(out) == weights(straight), "after Ctrl-C: the same weights")

    def text_is_learned():
        text = os.path.join(folder, "text.txt")
        open(text, "w").write("The quick brown fox jumps over the lazy dog.\n" * 200)
        out = os.path.join(folder, "text")
        done = run("train", training, "--out", out, "--text", text, "--set", "batch.length=64", "--set", "batch.rows=4", "--set", "data.prompt_weight=0")
        losses = curve(out)
        check(done.returncode == 0 and float(losses["30"]) < float(losses["1"]), f"--text: {losses.get('1')} to {losses.get('30')} {done.stderr[-200:]}")
        check("held-out loss" in done.stderr and "exact match" not in done.stderr, "--text: held-out loss, no exact match")

    def further_training_starts_from_a_model():
        done = run("train", training, "--out", os.path.join(folder, "further"), "--set", "run.steps=2", "--set", f"model={{from: {straight}}}")
        first = curve(os.path.join(folder, "further"))["1"]
        check(done.returncode == 0 and float(first) < float(curve(straight)["15"]), f"from: the first loss is {first}")

    def a_draft_learns_from_its_target():
        draft = os.path.join(folder, "draft")
        done = run("train", training, "--out", draft, "--set", f"distill={{target: {straight}, answers: data}}", "--set", "run.steps=6", "--set",
                   "model.init_seed=5")
        header = open(os.path.join(draft, "curve.csv")).readline() if done.returncode == 0 else ""
        done = run("train", training, "--out", os.path.join(folder, "draft3"), "--set", f"distill={{target: {straight}, answers: data}}", "--set",
                   "run.steps=40", "--set", "model.init_seed=5")
        losses = curve(os.path.join(folder, "draft3"))
        first, last = float(losses["1"]), float(losses["40"])
        check(done.returncode == 0 and last < 0.8 * first, f"distillation: the loss falls from {first} to {last}")
        check("loss.kl" in header and "mean_acceptance_length" in header, f"distillation: losses and acceptance are measured: {done.stderr[-200:]}")
        refused("a target that never ends an answer", ["single answer"], training, "--out", os.path.join(folder, "draft2"), "--set",
                f"distill={{target: {straight}, samples: 2}}", "--set", "data.families=[arithmetic]")
        refused("distill without a target", ["target"], training, "--out", os.path.join(folder, "draft2"), "--set", "distill={samples: 2}")

    def heads_learn_from_their_target():
        heads = os.path.join(folder, "heads.yaml")
        open(heads, "w").write(f"""train: heads
learner: {{type: medusa, target: {straight}, answers: data, num_heads: 2, output: target, acceptance_depth: 2}}
data: {{families: [qa]}}
optimizer: {{learning_rate: 1.0e-2, warmup_steps: 2, ema: 0.9, schedule: linear}}
batch: {{rows: 2, length: 1000}}
run: {{steps: 24, threads: 1, checkpoint_every: 2, eval_every: 8, eval_prompts: 1, log_every: 1, save_dtype: f32}}
""")
        out, killed = os.path.join(folder, "heads"), os.path.join(folder, "heads-killed")
        done = run("train", heads, "--out", out)
        header = open(os.path.join(out, "curve.csv")).readline() if done.returncode == 0 else done.stderr[-300:]
        check(all(word in header for word in ("loss.2", "mean_acceptance_length", "acceptance.1", "teacher_forced_length")),
              f"heads: losses, acceptance measured and with the text given: {header}")
        wanted = {"medusa_lm_head.safetensors", "config.json", "curve.csv", "curve.svg", "train.resolved.yaml", "README.md"}
        check(wanted <= set(os.listdir(out)), f"heads: what is left behind: {sorted(os.listdir(out))}")
        check("Medusa heads" in open(os.path.join(out, "README.md")).read(), "heads: the model card says what they are")
        rows = [dict(zip(header.strip().split(","), line.split(","))) for line in open(os.path.join(out, "curve.csv")).read().splitlines()[1:]]
        lengths = {int(row["step"]): float(row["mean_acceptance_length"]) for row in rows if row.get("mean_acceptance_length")}
        best = min(step for step, length in lengths.items() if length == max(lengths.values()))
        card = open(os.path.join(out, "README.md")).read()
        check((f"those after step {best}:" in card) == (best != 24), f"heads: the best of {lengths} are kept")
        check("| acceptance at position | 1 | 2 |" in card and "answers given" in card, "heads: the model card has acceptance by position")
        reduced = ("--set", f"learner={{type: eagle3, target: {straight}, answers: data, steps: 2, draft_vocab_size: 50, acceptance_depth: 2}}",
                   "--set", "run.steps=6", "--set", "run.eval_every=3")
        for more, file in ((reduced, "model.safetensors"), ((), "medusa_lm_head.safetensors")):
            straight_out, stopped = (out + "3", killed + "3") if more else (out, killed)
            if more:
                run_ok("train", heads, "--out", straight_out, *more)
            process = start(heads, "--out", stopped, *more)
            wait_for(os.path.join(stopped, "checkpoint", "state.safetensors"))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            done = run("train", heads, "--out", stopped, *more)
            same = [open(os.path.join(f, file), "rb").read() for f in (straight_out, stopped)]
            check(done.returncode == 0 and same[0] == same[1], f"{file}: a killed run goes on, with the same reduced vocabulary: {done.stderr[-200:]}")
        check(done.returncode == 0 and curve(killed) == curve(out) and same[0] == same[1], f"heads: a killed run goes on: {done.stderr[-200:]}")
        refused("heads have no model of their own", ["--set model", "heads of its target"], heads, "--out", killed + "2", "--set", f"model.from={straight}")
        refused("an unknown learner", ["medussa", "did you mean 'medusa'"], heads, "--out", killed + "2", "--set", "learner.type=medussa")
        refused("an unknown key of a learner", ["num_haeds", "num_heads"], heads, "--out", killed + "2", "--set", "learner.num_haeds=3")
        refused("a learner without its target", ["--set learner", "'target' is missing"], heads, "--out", killed + "2", "--set",
                "learner={type: medusa}")
        names = {entry["name"] for entry in json.loads(run_ok("list", "learners", "--json"))}
        check({"lm", "distill", "medusa", "eagle3", "hydra", "mlp_speculator", "redrafter"} <= names, f"list learners: {sorted(names)}")

    def a_full_disk_is_an_error_and_the_run_goes_on_later():
        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))

        out = os.path.join(folder, "full")
        settings = ("train", training, "--out", out, "--set", "run.steps=6", "--set", "run.checkpoint_every=3")
        done = run(*settings, preexec_fn=small_files)
        last = done.stderr.strip().splitlines()[-1]
        check(done.returncode == 2 and "cannot be written" in last and out in last, f"a full disk: {done.returncode} {last}")
        done = run(*settings)
        check(done.returncode == 0 and "6" in curve(out), f"with room again it goes on: {done.stderr[-200:]}")

    def mistakes():
        out = ("--out", os.path.join(folder, "bad"))
        refused("no out", ["out", "--out"], training)
        refused("unknown key", ["batch", "lenght", "length"], training, *out, "--set", "batch.lenght=3")
        refused("no such config", ["--set model.config", "nothing.json"], training, *out, "--set", "model.config=nothing.json")
        refused("a length above the context", ["1024", "batch.length"], training, *out, "--set", "batch.length=4000")
        refused("no conversation fits", ["longer than 20"], training, *out, "--set", "batch.length=20")
        small = dict(CONFIG, vocab_size=100)
        json.dump(small, open(os.path.join(folder, "small.json"), "w"))
        refused("a tokenizer larger than the vocabulary", ["258", "100"], training, *out, "--set", "model.config=" + os.path.join(folder, "small.json"))
        refused("other settings in the same folder", ["learning_rate", "--restart"], training, "--out", straight, "--set", "optimizer.learning_rate=1")
        refused("no such text", ["missing.txt"], training, *out, "--text", os.path.join(folder, "missing.txt"))
        refused("a loss that is not a number", ["step", "not a finite number"], training, *out, "--set", "optimizer.learning_rate=1e30", "--set",
                "optimizer.warmup_steps=0")
        damaged = os.path.join(folder, "damaged")
        shutil.copytree(straight, damaged)
        state = os.path.join(damaged, "checkpoint", "state.safetensors")
        os.truncate(state, os.path.getsize(state) - 100)
        refused("a checkpoint that was cut", ["state.safetensors"], training, "--out", damaged)

    for test in (a_run_leaves_a_model, killed_runs_go_on, interrupted_runs_keep_their_state, text_is_learned, further_training_starts_from_a_model, a_draft_learns_from_its_target, heads_learn_from_their_target,
                 a_full_disk_is_an_error_and_the_run_goes_on_later, mistakes):
        case(test)


with temporary_folder() as folder:
    main(folder)
finish()
