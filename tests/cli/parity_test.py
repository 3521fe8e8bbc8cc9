#!/usr/bin/env python3
"""foretell parity: the first quantity in which a draft of another engine differs, for each fault that is planted in a dump."""

import json
import os
import random

from support import *

TEXT = [3, 14, 15, 92, 65, 35, 8]


def write_head(folder, **changes):
    """A DFlash head of random weights for support's random target."""
    out = os.path.join(folder, "head")
    os.makedirs(out, exist_ok=True)
    config = {"architectures": ["DFlashDraftModel"], "model_type": "qwen3", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
              "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "vocab_size": 96,
              "max_position_embeddings": 128, "block_size": 4, "tie_word_embeddings": False,
              "dflash_config": {"mask_token_id": 90, "target_layer_ids": [0, 1]}, **changes}
    with open(os.path.join(out, "config.json"), "w") as file:
        json.dump(config, file)
    shapes = {"fc.weight": [32, 64], "hidden_norm.weight": [32], "norm.weight": [32]}
    layer = {"input_layernorm": [32], "post_attention_layernorm": [32], "self_attn.q_proj": [32, 32], "self_attn.k_proj": [16, 32],
             "self_attn.v_proj": [16, 32], "self_attn.o_proj": [32, 32], "self_attn.q_norm": [8], "self_attn.k_norm": [8],
             "mlp.gate_proj": [48, 32], "mlp.up_proj": [48, 32], "mlp.down_proj": [32, 48]}
    shapes.update({f"layers.0.{name}.weight": shape for name, shape in layer.items()})
    numbers = random.Random(4)
    tensors = {}
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [1.0] * count if len(shape) == 1 else [numbers.gauss(0, 0.18) for _ in range(count)]
        tensors[name] = ("F32", shape, values)
    write_safetensors(os.path.join(out, "model.safetensors"), tensors)
    return out


def main(folder):
    target, head = make_random(folder), write_head(folder)
    common = ("--model", target, "--drafter", "dflash", "--head", head, "--threads", 1)
    text, ours = os.path.join(folder, "text.safetensors"), os.path.join(folder, "ours.safetensors")
    write_safetensors(text, {"text": ("I64", [len(TEXT)], TEXT)})
    said = run_ok("parity", text, *common, "--write", ours)
    check("no difference" in said and said.count("not in the dump") == 5, "a dump of a text alone is written out")
    whole = read_safetensors(ours)
    check(set(whole) == {"text", "taps", "draft_input_ids", "positions", "mask", "draft_logits"}, f"all quantities: {sorted(whole)}")
    check(whole["taps"][1] == [6, 64] and whole["draft_input_ids"][2] == [8, 90, 90, 90] and whole["positions"][2] == [6, 7, 8, 9]
          and whole["mask"][1] == [4, 10] and whole["draft_logits"][1] == [3, 96], "as the format says")
    check(run_json("parity", ours, *common, "--json")["first_difference"] is None, "our own dump is equal")

    def first(name, changes, *parts, quantity):
        path = os.path.join(folder, "changed.safetensors")
        write_safetensors(path, {**whole, **changes})
        done = run("parity", path, *common, "--json")
        found = json.loads(done.stdout)
        words = next(q["words"] for q in found["quantities"] if q["quantity"] == quantity)
        check(done.returncode == 1 and found["first_difference"] == quantity and all(part in words for part in parts), f"{name}: {done.stdout[-400:]}")
        return found

    ids, shape = whole["draft_input_ids"][2], whole["taps"][1]
    first("another mask token", {"draft_input_ids": ("I64", [4], [ids[0], 91, 91, 91])}, "row 1: theirs 91, here 90", quantity="draft_input_ids")
    first("positions shifted", {"positions": ("I64", [4], [7, 8, 9, 10])}, "all rows are shifted by 1", quantity="positions")
    causal = [1.0 if key <= 6 + row else 0.0 for row in range(4) for key in range(10)]
    first("causal within the block", {"mask": ("F32", [4, 10], causal)}, "row 0 sees key 7 here and not there", quantity="mask")
    first("a multiplier left out", {"draft_logits": ("F32", [3, 96], [4 * x for x in whole["draft_logits"][2]])}, "theirs are 4 times those here",
          "is the same in 3 of 3 rows", quantity="draft_logits")

    # The states of the layer before: what a head does that counts layers from 1.
    earlier = write_head(os.path.join(folder, "earlier"), dflash_config={"mask_token_id": 90, "target_layer_ids": [-1, 0]})
    run_ok("parity", text, *common[:-4], "--head", earlier, "--threads", 1, "--write", os.path.join(folder, "earlier.safetensors"))
    taps = read_safetensors(os.path.join(folder, "earlier.safetensors"))["taps"]
    found = first("layers off by one", {"taps": taps}, "are the embeddings", "are the state behind layer 0", quantity="taps")
    # Logits are computed from the dump's states: ours from the right ones are not theirs.
    check(not found["quantities"][4]["equal"], "other states, other logits")
    plain = run("parity", os.path.join(folder, "changed.safetensors"), *common)
    check(plain.returncode == 1 and "taps            FIRST DIFFERENCE" in plain.stdout and "draft_logits    differs" in plain.stdout, "as text")
    check(shape == taps[1], "the same shape")

    def refused(name, tensors, *parts):
        path = os.path.join(folder, "bad.safetensors")
        write_safetensors(path, tensors)
        done = run("parity", path, *common)
        check(done.returncode == 2 and done.stderr.count("\n") == 1 and all(part in done.stderr for part in parts), f"{name}: {done.stderr}")

    refused("no text", {"taps": taps}, "bad.safetensors", "tensor 'text' is missing")
    refused("another name", {**whole, "hidden": taps}, "'hidden' is no tensor of a dump")
    refused("a token beyond the vocabulary", {"text": ("I64", [2], [1, 96])}, "the token 96", "ids 0 to 95")
    refused("a text of numbers", {"text": ("F32", [2], [1.0, 2.0])}, "expected I64 or I32")
    for drafter, where, part in (("medusa", head, "known: dflash"), ("dflash", "nowhere", "nowhere")):
        done = run("parity", ours, "--model", target, "--drafter", drafter, "--head", where)
        check(done.returncode == 2 and part in done.stderr, f"{drafter} {where}: {done.stderr}")


with temporary_folder() as temporary:
    case(lambda: main(temporary))
finish()
