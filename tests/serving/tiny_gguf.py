"""Write the model of tiny_model.py as one GGUF file of 1.5 MB, which llama.cpp serves.

usage: python -m tests.serving.tiny_gguf FILE

It says the same in the same words, and calls tools in the same form, which llama.cpp learns from
the template. Only the template makes a difference: below are two for what goes wrong with real
models. Each run writes the same bytes.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from pathlib import Path

from . import tiny_model
from .tiny_model import ADDED, CONTROL, END, VOCABULARY, Tensor

#: Tokens; more than any host gives to its server. In /v1/models this is meta.n_ctx_train.
CONTEXT = 262_144

#: llama.cpp's own Jinja takes no dots in an attribute's name; what is rendered is the same.
TEMPLATE = tiny_model.TEMPLATE.replace(
    "map(attribute='function.name')", "map(attribute='function') | map(attribute='name')"
)

#: As in Gemma's templates, the roles have to take turns, and only the first message may be the
#: system's. Unlike there, results of tools are a user's turn, with what the user says beside them.
_COUNTED = """\
{%- if loop.first and message.role == 'system' or turn.result and message.role == 'user' -%}
{%- elif (message.role in ['user', 'tool']) == (turn.count % 2 == 0) -%}
{%- set turn.count = turn.count + 1 -%}
{%- elif message.role != 'tool' -%}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') -}}
{%- endif -%}
"""
_LOOP = "{%- for message in messages -%}"
#: Refuses a conversation of user, system, assistant and user: with an error 400, and Claude Code
#: 2.1.330 sends such a one after its first call of a tool.
ALTERNATING = TEMPLATE.replace("(result=false)", "(result=false, count=0)").replace(
    _LOOP, _LOOP + _COUNTED
)

#: Shows the model no tools, so that it answers in words. Where the client insists on a tool, the
#: grammar does not let it end, and it babbles up to max_tokens.
NO_TOOLS = "{%- set tools = [] -%}\n" + TEMPLATE

#: What llama.cpp calls the parts of a tensor's name.
NAMES = {
    "model.layers": "blk",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}

#: The types of tokens, by llama.cpp's numbers. Those of control are stripped from what is said.
NORMAL, OF_CONTROL, DEFINED, UNUSED = 1, 3, 4, 5

Scalar = bool | int | float | str
Value = Scalar | list[int] | list[str]


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def scalar(value: Scalar) -> tuple[int, bytes]:
    """The GGUF number of the type that llama.cpp wants for such a value, and its bytes."""
    if isinstance(value, str):
        return 8, string(value)
    kind, form = {bool: (7, "<?"), int: (4, "<I"), float: (6, "<f")}[type(value)]
    return kind, struct.pack(form, value)


def entry(key: str, value: Value) -> bytes:
    if isinstance(value, list):
        # Numbers in a list are int32 (5), and not uint32 as elsewhere.
        element = 8 if isinstance(value[0], str) else 5
        content = struct.pack("<IQ", element, len(value)) + b"".join(scalar(v)[1] for v in value)
        return string(key) + struct.pack("<I", 9) + content
    kind, content = scalar(value)
    return string(key) + struct.pack("<I", kind) + content


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 32)  # GGUF's default alignment


def gguf(metadata: Mapping[str, Value], tensors: Mapping[str, Tensor]) -> bytes:
    """A GGUF file, version 3."""
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    header += b"".join(entry(key, value) for key, value in metadata.items())
    content = b""
    for name, tensor in tensors.items():
        dimensions = len(tensor.shape)
        header += string(name) + struct.pack("<I", dimensions)
        # The innermost dimension first; then the type, which is 0 for float32.
        header += struct.pack(f"<{dimensions}QIQ", *reversed(tensor.shape), 0, len(content))
        content += padded(tensor.values.tobytes())
    return padded(header) + content


def renamed(name: str) -> str:
    for part, other in NAMES.items():
        name = name.replace(part, other)
    return name


def metadata(template: str) -> dict[str, Value]:
    """The shape is that of a Llama, which may have biases and heads of any size."""
    content, numbers = tiny_model.tokenizer()
    tokens = [*content["model"]["vocab"], *ADDED]
    unused = [f"[unused {number}]" for number in range(len(tokens), VOCABULARY)]
    kinds = [NORMAL] * (len(tokens) - len(ADDED))
    kinds += [OF_CONTROL if piece in CONTROL else DEFINED for piece in ADDED]
    ends = dict(zip(("eos", "eot", "eom"), (numbers[end] for end in END), strict=True))
    shape: dict[str, Value] = {
        "context_length": CONTEXT,
        "embedding_length": tiny_model.HIDDEN,
        "feed_forward_length": tiny_model.INNER,
        "block_count": 1,
        "attention.head_count": 1,
        "attention.head_count_kv": 1,
        "attention.key_length": tiny_model.HEAD,
        "attention.value_length": tiny_model.HEAD,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.dimension_count": tiny_model.HEAD,
        "rope.freq_base": 1e6,
    }
    tokenizer: dict[str, Value] = {
        "ggml.model": "gpt2",
        "ggml.pre": "gpt-2",
        "ggml.tokens": tokens + unused,
        "ggml.token_type": kinds + [UNUSED] * len(unused),
        "ggml.merges": [" ".join(pair) for pair in content["model"]["merges"]],
        "ggml.add_bos_token": False,
        "ggml.padding_token_id": ends["eos"],
        **{f"ggml.{end}_token_id": number for end, number in ends.items()},
        "chat_template": template,
    }
    return {
        "general.architecture": "llama",
        "general.name": "tiny",
        "general.file_type": 0,  # all float32
        **{f"llama.{name}": value for name, value in shape.items()},
        **{f"tokenizer.{name}": value for name, value in tokenizer.items()},
    }


def write(path: Path, template: str = TEMPLATE) -> None:
    """Write the model, with this template for its conversations, into the file `path`."""
    _, numbers = tiny_model.tokenizer()
    own, first, last = tiny_model.outer(numbers)
    # One layer with one head: on a CPU the time for a long prompt is all spent on attention.
    tensors = {**first, **tiny_model.layer(0, own, heads=1, kv_heads=1), **last}
    path.write_bytes(
        gguf(metadata(template), {renamed(name): one for name, one in tensors.items()})
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]))
