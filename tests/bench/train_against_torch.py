#!/usr/bin/env python3
"""Tokens per second of `foretell train` beside an equal loop in PyTorch, in turns on one machine.

    tests/bench/train_against_torch.py [--foretell build/foretell] [--steps 60] [--turns 3] [--threads 2]

Needs the Python package of LibTorch's version (`pip install torch==2.11.0`). Both sides train the shape of configs/models/zoo-target.json in float32
with AdamW, clipping at norm 1 and batches of 8 x 256 tokens. PyTorch's side has it easier: its batches are full rows of random ids made beforehand,
where ours are generated conversations (tokenised, sorted by length, masked) made while it trains. Each turn's figure is the median over its logged
intervals, the first left out. Prints every turn and the ratio of the medians; no bar is asserted here.
"""
import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOG_EVERY = 10


def ours(arguments, folder):
    command = [arguments.foretell, "train", str(ROOT / "configs/train/zoo_target.yaml"), "--set", f"run.steps={arguments.steps}", "--set",
               f"run.threads={arguments.threads}", "--set", f"run.eval_every={arguments.steps}", "--set", "run.eval_prompts=1", "--set",
               f"run.checkpoint_every={arguments.steps}", "--set", f"run.log_every={LOG_EVERY}", "--set", f"out={folder}"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(pathlib.Path(folder) / "curve.csv", encoding="utf-8") as file:
        return statistics.median(float(row["tokens_per_second"]) for row in list(csv.DictReader(file))[1:])


def torchs(arguments):
    """The same loop in a process of its own, so that neither side's threads linger."""
    return float(subprocess.run([sys.executable, __file__, "--torch-side", "--steps", str(arguments.steps), "--threads", str(arguments.threads)],
                                check=True, capture_output=True, text=True).stdout)


def torch_side(arguments):
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    shape = json.loads((ROOT / "configs/models/zoo-target.json").read_text())
    hidden, heads, groups, size = (shape[key] for key in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim"))
    inner, vocabulary, layers, eps = (shape[key] for key in ("intermediate_size", "vocab_size", "num_hidden_layers", "rms_norm_eps"))
    rows, length = 8, 256
    angles = torch.outer(torch.arange(length), shape["rope_theta"] ** (-torch.arange(0, size, 2) / size)).repeat(1, 2)
    cos, sin = angles.cos(), angles.sin()

    def rotated(x):
        return x * cos + torch.cat([-x[..., size // 2:], x[..., :size // 2]], -1) * sin

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.before_attention, self.before_mlp = nn.RMSNorm(hidden, eps), nn.RMSNorm(hidden, eps)
            self.qkv = nn.Linear(hidden, (heads + 2 * groups) * size, bias=False)
            self.out = nn.Linear(heads * size, hidden, bias=False)
            self.gate_up, self.down = nn.Linear(hidden, 2 * inner, bias=False), nn.Linear(inner, hidden, bias=False)

        def forward(self, x):
            parts = self.qkv(self.before_attention(x)).split([heads * size, groups * size, groups * size], -1)
            q, k, v = (part.view(rows, length, -1, size).transpose(1, 2) for part in parts)
            y = F.scaled_dot_product_attention(rotated(q), rotated(k), v, is_causal=True, enable_gqa=True)
            x = x + self.out(y.transpose(1, 2).reshape(rows, length, -1))
            gate, up = self.gate_up(self.before_mlp(x)).chunk(2, -1)
            return x + self.down(F.silu(gate) * up)

    embedding, stack, norm = nn.Embedding(vocabulary, hidden), nn.Sequential(*(Layer() for _ in range(layers))), nn.RMSNorm(hidden, eps)
    nn.init.normal_(embedding.weight, 0, 0.02)
    parameters = [*embedding.parameters(), *stack.parameters(), *norm.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    batches = [torch.randint(0, vocabulary, (rows, length + 1)) for _ in range(8)]
    rates, start = [], time.perf_counter()
    for step in range(1, arguments.steps + 1):
        ids = batches[step % len(batches)]
        logits = F.linear(norm(stack(embedding(ids[:, :-1]))), embedding.weight)
        loss = F.cross_entropy(logits.view(-1, vocabulary), ids[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step % LOG_EVERY == 0:
            now = time.perf_counter()
            rates.append(LOG_EVERY * rows * length / (now - start))
            start = now
    print(statistics.median(rates[1:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--foretell", default=str(ROOT / "build/foretell"))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--torch-side", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.torch_side:
        torch_side(arguments)
        return
    results = {"foretell": [], "PyTorch": []}
    print("turn  foretell tokens/s  PyTorch tokens/s")
    for turn in range(arguments.turns):
        with tempfile.TemporaryDirectory() as folder:
            results["foretell"].append(ours(arguments, folder))
        results["PyTorch"].append(torchs(arguments))
        print(f"{turn + 1:4}  {results['foretell'][-1]:17.0f}  {results['PyTorch'][-1]:16.0f}", flush=True)
    print(f"ratio of medians: {statistics.median(results['foretell']) / statistics.median(results['PyTorch']):.2f}")


if __name__ == "__main__":
    main()
