"""Writes a tiny Llama with random weights: two layers, some letters, nothing to download."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, HIDDEN, LAYERS, HEADS, CONTEXT = 64, 128, 2, 4, 512
LETTERS = [f"▁{a}{b}" for a in "bdfklmnprst" for b in "aeiou"] + [chr(97 + i) for i in range(26)]
UNKNOWN, START, END = range(3)
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


def write(path: Path, seed: int = 1) -> None:
    """Write the model as a GGUF file."""
    # Only the nox session of this folder has these two.
    gguf: Any = import_module("gguf")
    np: Any = import_module("numpy")
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    tokens = _add_tokens(writer)
    random = np.random.default_rng(seed)
    for name, shape in _shapes(len(tokens)).items():
        tensor = random.normal(0, 0.5, shape) if len(shape) > 1 else np.ones(shape)
        if name == "output.weight":  # letters only: neither single bytes nor an end
            tensor[: len(tokens) - len(LETTERS)] = 0
            tensor *= 4
        writer.add_tensor(name, tensor.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokens(writer: Any) -> list[str]:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *LETTERS]
    normal, unknown, control, byte = 1, 2, 3, 6
    kinds = [unknown, control, control, *[byte] * 256, *[normal] * len(LETTERS)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(index) for index in range(len(tokens))])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(UNKNOWN)
    writer.add_bos_token_id(START)
    writer.add_eos_token_id(END)
    writer.add_chat_template(TEMPLATE)
    writer.add_vocab_size(len(tokens))
    return tokens


def _shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, WIDTH),
        "output_norm.weight": (WIDTH,),
        "output.weight": (vocabulary, WIDTH),
    }
    for layer in range(LAYERS):
        for part in ("attn_norm", "ffn_norm"):
            shapes[f"blk.{layer}.{part}.weight"] = (WIDTH,)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes[f"blk.{layer}.{part}.weight"] = (WIDTH, WIDTH)
        for part in ("ffn_gate", "ffn_up"):
            shapes[f"blk.{layer}.{part}.weight"] = (HIDDEN, WIDTH)
        shapes[f"blk.{layer}.ffn_down.weight"] = (WIDTH, HIDDEN)
    return shapes
