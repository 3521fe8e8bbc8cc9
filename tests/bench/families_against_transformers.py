#!/usr/bin/env python3
"""Logits of `foretell score` beside Transformers', for every family and every key of config.json that changes what a model computes.

    tests/bench/families_against_transformers.py [--foretell build/foretell] [--families llama,qwen2] [--keys partial]

Needs `pip install torch transformers==5.5.4`; says so and ends with 0 where they are missing. For each family a tiny checkpoint is made for its own
config and for that config with each of the variations below; both sides load the same folder in float32. A line each: "equal", "DIFFERENT" with the
largest difference, "refused" by Foretell (with its message), "both refuse", or "Transformers refuses". Exit code 1 if any is different.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

try:
    import torch
    import transformers
    from safetensors.torch import load_file, save_file
except ImportError as missing:
    print(f"SKIPPED families_against_transformers: {missing}")
    sys.exit(0)

TOLERANCE = 1e-4
VOCABULARY, LENGTH = 97, 40

SIZES = {"vocab_size": VOCABULARY, "hidden_size": 48, "intermediate_size": 56, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 20}
FAMILIES = {
    "llama": SIZES,
    "mistral": {**SIZES, "sliding_window": 7},
    "qwen2": SIZES,
    "qwen3": {**SIZES, "head_dim": 12},
    "phi3": SIZES,
    "gpt2": {"vocab_size": VOCABULARY, "n_positions": 64, "n_embd": 48, "n_layer": 3, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2},
    "gpt_neox": {**SIZES, "hidden_size": 64},
    "mixtral": {**SIZES, "num_local_experts": 6, "num_experts_per_tok": 2},
    "qwen2_moe": {**SIZES, **EXPERTS, "shared_expert_intermediate_size": 24},
    "qwen3_moe": {**SIZES, **EXPERTS, "head_dim": 12},
    "olmoe": {**SIZES, "num_key_value_heads": 4, "num_experts": 6, "num_experts_per_tok": 2},
    "deepseek_v3": {**SIZES, "num_key_value_heads": 4, "moe_intermediate_size": 20, "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 2,
                    "topk_group": 1, "first_k_dense_replace": 1, "kv_lora_rank": 16, "q_lora_rank": 24, "qk_rope_head_dim": 8, "v_head_dim": 12,
                    "qk_nope_head_dim": 12},
}

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0, 1.5, 2.0, 2.5, 3.0, 3.5], "long_factor": [2.0] * 6, "factor": 2.0,
            "original_max_position_embeddings": 48}
MISSING = object()  # the key is taken out
HEAD_ALONE = "tie_word_embeddings, the head alone in the file"

VARIATIONS = {
    "as it is": {},
    # Rotary positions
    "rope_theta": {"rope_theta": 500.0},
    "rope_parameters.rope_theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "rope_parameters.rope_theta beside rope_theta": {"rope_theta": 90.0, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "rope_parameters without rope_theta beside rope_theta": {"rope_theta": 90.0, "rope_parameters": {"rope_type": "default"}},
    "rope_scaling beside rope_parameters": {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": {"rope_theta": 500.0}},
    "rope_scaling linear (type)": {"rope_scaling": {"type": "linear", "factor": 2.0}},
    "rope_scaling linear (rope_type)": {"rope_theta": 500.0, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    "rope_scaling dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
    "rope_scaling llama3": {"rope_scaling": LLAMA3},
    "rope_scaling yarn": {"rope_scaling": YARN},
    "rope_scaling yarn, attention_factor": {"rope_scaling": {**YARN, "attention_factor": 0.7}},
    "rope_scaling yarn, mscale": {"rope_scaling": {**YARN, "mscale": 0.7, "mscale_all_dim": 1.0}},
    "rope_scaling yarn, mscale alone": {"rope_scaling": {**YARN, "mscale": 0.7}},
    "rope_scaling yarn, mscale_all_dim alone": {"rope_scaling": {**YARN, "mscale_all_dim": 0.7}},
    "rope_scaling yarn, truncate": {"rope_scaling": {**YARN, "truncate": False, "beta_fast": 8.0, "beta_slow": 2.0}},
    "rope_scaling yarn without a factor": {"rope_scaling": {"rope_type": "yarn", "original_max_position_embeddings": 16}},
    "rope_scaling longrope": {"rope_scaling": LONGROPE},
    "rope_scaling longrope, outer context": {"rope_scaling": LONGROPE, "original_max_position_embeddings": 48},
    "rope_scaling without a type": {"rope_scaling": {"factor": 2.0}},
    "rope_scaling linear, partial": {"rope_scaling": {"type": "linear", "factor": 2.0}, "partial_rotary_factor": 0.5},
    "partial_rotary_factor": {"partial_rotary_factor": 0.5},
    "rope_parameters.partial_rotary_factor": {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5}},
    "rope_scaling.partial_rotary_factor": {"rope_scaling": {"type": "default", "partial_rotary_factor": 0.5}},
    "rotary_pct": {"rotary_pct": 0.5},
    "rotary_emb_base": {"rotary_emb_base": 500},
    "rotary_dim": {"rotary_dim": 4},
    "rope_interleave true": {"rope_interleave": True},
    "rope_interleave false": {"rope_interleave": False},
    "rope_interleaved": {"rope_interleaved": True},
    "no_rope_layers": {"no_rope_layers": [0, 1, 0]},
    "position_embedding_type": {"position_embedding_type": "alibi"},
    # Attention
    "head_dim": {"head_dim": 16},
    "num_key_value_heads 1": {"num_key_value_heads": 1},
    "num_key_value_heads null": {"num_key_value_heads": None},
    "attention_bias": {"attention_bias": True},
    "attention_bias false": {"attention_bias": False},
    "qkv_bias": {"qkv_bias": True},
    "qkv_bias false": {"qkv_bias": False},
    "attention_out_bias": {"attention_out_bias": True},
    "sliding_window": {"sliding_window": 5},
    "sliding_window null": {"sliding_window": None},
    "sliding_window 0": {"sliding_window": 0},
    "use_sliding_window": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1},
    "use_sliding_window, null window": {"use_sliding_window": True, "sliding_window": None},
    "use_sliding_window false": {"use_sliding_window": False, "sliding_window": 5},
    "max_window_layers 9": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 9},
    "layer_types": {"use_sliding_window": True, "sliding_window": 5, "layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    "layer_types, all full": {"sliding_window": 5, "layer_types": ["full_attention"] * 3},
    "layer_types, all sliding": {"sliding_window": 5, "use_sliding_window": True, "layer_types": ["sliding_attention"] * 3},
    "layer_types without a window": {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    "sliding_window_pattern": {"sliding_window": 5, "sliding_window_pattern": 2},
    "interleaved_sliding_window": {"interleaved_sliding_window": [5, None, 5]},
    "attention_chunk_size": {"attention_chunk_size": 5},
    "qk_layernorm": {"qk_layernorm": True},
    "use_qk_norm": {"use_qk_norm": True},
    "qk_norm": {"qk_norm": True},
    "clip_qkv": {"clip_qkv": 0.5},
    "attn_logit_softcapping": {"attn_logit_softcapping": 0.5},
    "query_pre_attn_scalar": {"query_pre_attn_scalar": 3},
    "attention_multiplier": {"attention_multiplier": 2.0},
    "attention_dropout": {"attention_dropout": 0.1, "attn_pdrop": 0.1, "resid_pdrop": 0.1, "hidden_dropout": 0.1},
    "scale_attn_weights": {"scale_attn_weights": False},
    "scale_attn_by_inverse_layer_idx": {"scale_attn_by_inverse_layer_idx": True},
    "reorder_and_upcast_attn": {"reorder_and_upcast_attn": True},
    "is_causal false": {"is_causal": False},
    "is_causal null": {"is_causal": None},
    "is_decoder": {"is_decoder": True},
    # MLP and norms
    "mlp_bias": {"mlp_bias": True},
    "use_bias": {"use_bias": True},
    "hidden_act gelu": {"hidden_act": "gelu"},
    "hidden_act gelu_new": {"hidden_act": "gelu_new"},
    "hidden_act gelu_pytorch_tanh": {"hidden_act": "gelu_pytorch_tanh"},
    "hidden_act gelu_fast": {"hidden_act": "gelu_fast"},
    "hidden_act relu": {"hidden_act": "relu"},
    "hidden_act relu2": {"hidden_act": "relu2"},
    "hidden_act quick_gelu": {"hidden_act": "quick_gelu"},
    "hidden_act swish": {"hidden_act": "swish"},
    "hidden_activation": {"hidden_activation": "relu"},
    "activation_function": {"activation_function": "relu"},
    "n_inner": {"n_inner": 40},
    "rms_norm_eps": {"rms_norm_eps": 0.3},
    "layer_norm_eps": {"layer_norm_eps": 0.3},
    "layer_norm_epsilon": {"layer_norm_epsilon": 0.3},
    "norm_eps": {"norm_eps": 0.3},
    "use_parallel_residual": {"use_parallel_residual": False},
    "parallel_attn": {"parallel_attn": True},
    # Embedding and logits
    "tie_word_embeddings": {"tie_word_embeddings": True},
    HEAD_ALONE: {"tie_word_embeddings": True},
    "tie_word_embeddings false": {"tie_word_embeddings": False},
    "logits_scaling": {"logits_scaling": 3.0},
    "logit_scale": {"logit_scale": 3.0},
    "final_logit_softcapping": {"final_logit_softcapping": 1.0},
    "embedding_multiplier": {"embedding_multiplier": 3.0},
    "residual_multiplier": {"residual_multiplier": 0.3},
    "scale_embedding": {"scale_embedding": True},
    "mup": {"scale_emb": 3.0, "dim_model_base": 8, "scale_depth": 1.4},
    # Experts
    "num_experts_per_tok": {"num_experts_per_tok": 3},
    "num_local_experts": {"num_local_experts": 4},
    "num_experts": {"num_experts": 4},
    "num_experts beside num_local_experts": {"num_experts": 6, "num_local_experts": 4},
    "num_attention_heads beside n_head": {"n_head": 4, "num_attention_heads": 6},
    "norm_topk_prob": {"norm_topk_prob": True},
    "norm_topk_prob false": {"norm_topk_prob": False},
    "norm_topk_prob null": {"norm_topk_prob": None},
    "decoder_sparse_step": {"decoder_sparse_step": 2},
    "mlp_only_layers": {"mlp_only_layers": [1]},
    "shared_expert_intermediate_size": {"shared_expert_intermediate_size": 12},
    "router_jitter_noise": {"router_jitter_noise": 0.5},
    "routed_scaling_factor": {"routed_scaling_factor": 0.7},
    "n_group 1": {"n_group": 1, "topk_group": 1},
    "n_shared_experts 2": {"n_shared_experts": 2},
    "first_k_dense_replace": {"first_k_dense_replace": 2},
    "moe_layer_freq": {"moe_layer_freq": 2},
    "scoring_func": {"scoring_func": "softmax"},
    "topk_method": {"topk_method": "greedy"},
    "q_lora_rank null": {"q_lora_rank": None},
    "num_nextn_predict_layers": {"num_nextn_predict_layers": 1},
    # Others
    "pretraining_tp": {"pretraining_tp": 2},
    "max_position_embeddings absent": {"max_position_embeddings": MISSING},
    "use_cache": {"use_cache": False},
}


ARCHITECTURES = {"gpt2": "GPT2LMHeadModel", "gpt_neox": "GPTNeoXForCausalLM"}


def varied(family, base, more):
    architecture = ARCHITECTURES.get(family) or type(transformers.AutoConfig.for_model(family)).__name__.replace("Config", "ForCausalLM")
    config = {"model_type": family, "architectures": [architecture], "dtype": "float32", **base, **more}
    return {key: value for key, value in config.items() if value is not MISSING}


def make_checkpoint(config, folder):
    """Weights in the shapes that Transformers gives this config."""
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder), attn_implementation="eager").float()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() >= 2:
                weight.normal_(0, 0.15)
            elif "bias" in name:
                weight.normal_(0, 0.05)
            else:
                weight.add_(torch.randn_like(weight) * 0.05)
        for name, buffer in model.named_buffers():
            if "e_score_correction_bias" in name:
                buffer.normal_(0, 0.1)
    model.save_pretrained(folder / "saved")
    shutil.move(folder / "saved/model.safetensors", folder / "model.safetensors")
    shutil.rmtree(folder / "saved")


def keep_head_alone(folder):
    weights = load_file(folder / "model.safetensors")
    embedding = next(name for name in weights if name.endswith(("embed_tokens.weight", "wte.weight", "embed_in.weight")))
    weights["embed_out.weight" if "embed_in" in embedding else "lm_head.weight"] = weights.pop(embedding)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def transformers_logits(folder, ids):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return model(ids).logits.float()


def foretell_logits(foretell, folder, ids):
    save_file({"input_ids": ids.int()}, folder / "ids.safetensors")
    run = subprocess.run([foretell, "score", "--model", str(folder), "--ids-file", str(folder / "ids.safetensors"), "--out", str(folder / "out.safetensors"),
                          "--dtype", "f32"], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return (load_file(folder / "out.safetensors")["logits"], "") if run.returncode == 0 else (None, run.stderr.strip().replace(str(folder) + "/", ""))


def compare(foretell, family, base, name, folder):
    more = VARIATIONS[name]
    config = varied(family, base, more)
    ids = torch.randint(3, VOCABULARY, (2, LENGTH), generator=torch.Generator().manual_seed(7))
    try:
        make_checkpoint(config, folder)
        if name == HEAD_ALONE:
            keep_head_alone(folder)
        expected = transformers_logits(folder, ids)
    except Exception as error:  # whatever Transformers raises for a config that it cannot run
        expected, reason = None, f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
    found, message = foretell_logits(foretell, folder, ids)
    if expected is None:
        return "both refuse" if found is None else "Transformers refuses", f"{reason} | {message}"
    if found is None:
        return "refused", message
    difference = float((found - expected).abs().max())
    return ("equal" if difference < TOLERANCE else "DIFFERENT"), f"{difference:.1e} of {float(expected.abs().max()):.1f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--foretell", default=str(pathlib.Path(__file__).resolve().parents[2] / "build/foretell"))
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--keys", default="", help="only variations whose name holds this")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    counts = {}
    for family in arguments.families.split(","):
        for name in VARIATIONS:
            if arguments.keys not in name:
                continue
            with tempfile.TemporaryDirectory() as folder:
                outcome, detail = compare(arguments.foretell, family, FAMILIES[family], name, pathlib.Path(folder))
            counts[outcome] = counts.get(outcome, 0) + 1
            print(f"{family:12} {name:52} {outcome:20} {detail}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    sys.exit(1 if counts.get("DIFFERENT") else 0)


if __name__ == "__main__":
    main()
