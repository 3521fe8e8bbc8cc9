"""What the scripts of this folder share: running the executable, safetensors in a few lines, counting checks.

Data beside the repository is named by FORETELL_DATA only; where it is not set, what needs it says SKIPPED.
"""

import array
import json
import os
import struct
import subprocess
import sys
import tempfile

BIN = os.environ.get("FORETELL_BIN", "build/foretell")
SOURCE = os.environ.get("FORETELL_SOURCE_DIR", ".")
DATA = os.environ.get("FORETELL_DATA")
# Threads that wait for one another by spinning make a busy machine ten times slower.
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive"}
# A run under sanitizers takes many times as long: FORETELL_TEST_PATIENCE=20 waits as many times longer.
PATIENCE = float(os.environ.get("FORETELL_TEST_PATIENCE", "1"))
failures = []


def has_shadow_memory():
    """Whether BIN is built with a sanitizer that reserves the address space: limits of memory say nothing of it then."""
    with open(BIN, "rb") as file:
        content = file.read()
    return any(name in content for name in (b"libasan.so", b"libtsan.so", b"__asan_init"))


def run(*arguments, env=None, timeout=300, preexec_fn=None):
    """Runs foretell; standard output and standard error as text."""
    return subprocess.run([BIN, *map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=timeout * PATIENCE,
                          env={**ENVIRONMENT, **(env or {})}, preexec_fn=preexec_fn)


def run_ok(*arguments, **options):
    done = run(*arguments, **options)
    if done.returncode != 0:
        raise AssertionError(f"foretell {' '.join(map(str, arguments))}: exit {done.returncode}: {done.stderr}")
    return done.stdout


def run_json(*arguments, **options):
    """The last thing on standard output, which is one JSON value."""
    out = run_ok(*arguments, **options).rstrip("\n")
    start = max(out.rfind("\n{") + 1, 0) if not out.startswith(("{", "[")) else 0
    return json.loads(out[start:])


def check(condition, message):
    print(("ok      " if condition else "FAILED  ") + message, flush=True)
    if not condition:
        failures.append(message)


def case(function):
    """Runs one test function; an exception in it is one failure."""
    try:
        function()
    except Exception as error:  # whatever went wrong, the other cases still run
        check(False, f"{function.__name__}: {type(error).__name__}: {error}")


def finish():
    sys.exit(1 if failures else 0)


def skip(message):
    print(f"SKIPPED {message}: FORETELL_DATA is not set", flush=True)


def read_safetensors(path):
    """name -> (dtype, shape, flat list of numbers)"""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        body = file.read()
    codes = {"F32": "f", "I32": "i", "I64": "q"}
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in codes:
            continue
        values = array.array(codes[entry["dtype"]])
        values.frombytes(body[entry["data_offsets"][0]:entry["data_offsets"][1]])
        tensors[name] = (entry["dtype"], entry["shape"], values.tolist())
    return tensors


def write_safetensors(path, tensors):
    """tensors: name -> (dtype, shape, flat list of numbers)"""
    codes = {"F32": "f", "I32": "i", "I64": "q"}
    header, body = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        data = array.array(codes[dtype], values).tobytes()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


def make_older(cell):
    """Makes a cell's folder one of before there were checksums: rows name neither their cell nor their rounds, and its summary is believed."""
    def edit(name, keys, by_line):
        path = os.path.join(cell, name)
        if not os.path.exists(path):
            return
        with open(path, encoding="utf-8") as file:
            contents = [json.loads(line) for line in file] if by_line else [json.load(file)]
        with open(path, "w", encoding="utf-8") as file:
            file.writelines(json.dumps({key: value for key, value in one.items() if key not in keys}) + "\n" for one in contents)

    edit("generations.jsonl", ("cell", "rounds", "checksum"), True)
    edit("manifest.json", ("format",), False)
    edit("summary.json", ("records", "files", "fold", "checksum"), False)


def temporary_folder():
    return tempfile.TemporaryDirectory(prefix="foretell-cli-")


def make_random(folder, name="tiny", seed=1, **changes):
    """A random model with a small config; changes override its keys."""
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
              "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 64, "vocab_size": 96, "max_position_embeddings": 128,
              "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 1,
              "eos_token_id": 2, "torch_dtype": "float32", **changes}
    path = os.path.join(folder, name + ".json")
    with open(path, "w") as file:
        json.dump(config, file)
    out = os.path.join(folder, name)
    run_ok("make-random", "--config", path, "--out", out, "--seed", seed)
    return out
