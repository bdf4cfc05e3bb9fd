"""Write a 2 MB model directory that vLLM serves and that behaves like a GLM, always the same.

usage: tiny_model.py FOLDER

It answers a question with one sentence, calls Bash or get_weather where such a tool is offered,
and says that it is done after a tool's result. Each run writes the same bytes.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

HIDDEN, LAYERS, HEADS, KV_HEADS, INNER, VOCABULARY = 128, 2, 4, 2, 256, 1024
HEAD = HIDDEN // HEADS
UNIT = HIDDEN**0.5  # what RMSNorm makes of the 1 in a vector of zeros

#: What is said on each route, from <think> to the end. The template puts the route's name before
#: <think>; the next token is a function of the last one and of that name. The last one alone
#: would not do: the parsers know </think> and <tool_call> by their one number each.
ROUTES: dict[str, tuple[str, ...]] = {
    "<|answer|>": (
        *("<think>", "A", " plain", " question", ",", " no", " tool", " needed", "</think>"),
        *("The", " capital", " of", " France", " is", " Paris", ".", "<|user|>"),
    ),
    "<|call:Bash|>": (
        *("<think>", "I", " need", " the", " shell", "</think>", "<tool_call>", "Bash"),
        *("<arg_key>", "command", "</arg_key>", "<arg_value>", "printf", " homeport", " >"),
        # One token, where a real GLM has several: else </arg_value> had two successors.
        *(" proof", ".txt", "</arg_value><arg_key>description</arg_key><arg_value>"),
        *("write proof", "</arg_value>", "</tool_call>", "<|observation|>"),
    ),
    "<|call:get_weather|>": (
        *("<think>", "I", " look", " it", " up", "</think>", "<tool_call>", "get_weather"),
        *("<arg_key>", "city", "</arg_key>", "<arg_value>", "Paris", "</arg_value>"),
        *("</tool_call>", "<|observation|>"),
    ),
    "<|done|>": (
        *("<think>", "It", " went", " well", "</think>"),
        *("Done", ":", " the file", " is written", ".", "<|user|>"),
    ),
}
END = ("<|endoftext|>", "<|user|>", "<|observation|>")
#: These are stripped from what is said; a GLM's tags are not, for the parsers read them.
CONTROL = (*END, "[gMASK]", "<sop>", "<|system|>", "<|assistant|>", *ROUTES)
TAGS = ("<think>", "<tool_call>", "<arg_key>", "<arg_value>")
ADDED = (*CONTROL, *TAGS, *(tag.replace("<", "</") for tag in TAGS))

#: Frequent in what a coding client sends: with bytes alone its 47 kB would be as many tokens.
WORDS = """
the and for you not with this that from only when use are can any all one but has its name file
files type string object number boolean array value null true false default required properties
description schema additional input output result results return returns content text message
user assistant system tool tools function call calls command commands run running instructions
agent agents task tasks session context prompt request review finding skill workflow model
before after without instead other same first path absolute directory project code script must
read write edit search list line lines change class argument statement expression error errors
available specific should never always conversation environment background question information
"""

TEMPLATE = """\
{%- macro text(content) -%}
{%- if content is string -%}{{ content }}
{%- else -%}{%- for part in content or [] -%}{{ part.text or part.name }}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
[gMASK]<sop>
{%- set names = (tools or []) | map(attribute='function.name') | list -%}
{%- if tools -%}
<|system|>You may call these functions:
{% for tool in tools -%}{{ tool.function | tojson }}
{% endfor -%}
A call has this form: <tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>
{%- endif -%}
{%- set turn = namespace(result=false) -%}
{%- for message in messages -%}{%- if message.role == 'assistant' -%}
{%- set turn.result = false -%}{%- set thought = message.reasoning or message.reasoning_content -%}
<|assistant|>{{ '<think>' + thought if thought }}</think>{{ text(message.content) }}
{%- for call in message.tool_calls or [] -%}
<tool_call>{{ call.function.name }}
{%- for key, value in call.function.arguments.items() -%}
<arg_key>{{ key }}</arg_key><arg_value>
{{- value if value is string else value | tojson }}</arg_value>{%- endfor -%}
</tool_call>{%- endfor -%}
{%- elif message.role == 'tool' -%}{%- set turn.result = true -%}
<|observation|><tool_response>{{ text(message.content) }}</tool_response>
{%- else -%}
<|{{ message.role }}|>{{ text(message.content) }}{%- endif -%}{%- endfor -%}
{%- if add_generation_prompt -%}
<|assistant|>{%- if turn.result -%}<|done|>
{%- elif 'Bash' in names -%}<|call:Bash|>
{%- elif 'get_weather' in names -%}<|call:get_weather|>
{%- else -%}<|answer|>{%- endif -%}
{{- '</think>' if enable_thinking is defined and not enable_thinking else '<think>' }}{%- endif -%}
"""

# The letter that stands for each byte, as in every byte-level BPE.
PRINTED = {*range(33, 127), *range(161, 173), *range(174, 256)}
OTHERS = iter(range(256, 512))
LETTERS = [chr(byte if byte in PRINTED else next(OTHERS)) for byte in range(256)]


def spelled(text: str) -> str:
    return "".join(LETTERS[byte] for byte in text.encode())


def learned(count: int) -> list[tuple[str, str]]:
    """The merges that BPE learns from the words, with and without a blank before them."""
    words = [list(spelled(before + word)) for word in WORDS.split() for before in ("", " ")]
    merges: list[tuple[str, str]] = []
    while len(merges) < count and any(len(word) > 1 for word in words):
        pairs = Counter(pair for word in words for pair in pairwise(word))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word in words:
            for at in range(len(word) - 2, -1, -1):
                if (word[at], *word[at + 1 : at + 2]) == best:
                    word[at : at + 2] = ["".join(best)]
    return merges


def tokenizer() -> tuple[dict[str, Any], dict[str, int]]:
    """What tokenizer.json holds, and the number of each token, spelled as in ROUTES."""
    said = [piece for route in ROUTES.values() for piece in route if piece not in ADDED]
    merges = learned(VOCABULARY - len(ADDED) - len(LETTERS) - len(said))
    # No merge leads to a piece that is not one of the words: it is said, but never read.
    spellings = [*LETTERS, *map("".join, merges), *map(spelled, said)]
    vocabulary = {spelling: number for number, spelling in enumerate(dict.fromkeys(spellings))}
    numbers = {piece: len(vocabulary) + place for place, piece in enumerate(ADDED)}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    bytewise = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    content = {
        "version": "1.0",
        "added_tokens": [
            {"id": number, "content": piece, **flags, "special": piece in CONTROL}
            for piece, number in numbers.items()
        ],
        "pre_tokenizer": bytewise,
        "decoder": bytewise,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [list(pair) for pair in merges]},
    }
    return content, numbers | {piece: vocabulary[spelled(piece)] for piece in said}


class Tensor:
    """A float32 tensor of one or two dimensions, of which some places are written."""

    def __init__(self, *shape: int, fill: float = 0) -> None:
        self.shape = shape
        self.values = array("f", [fill]) * (shape[0] * shape[-1] if shape[1:] else shape[0])

    def put(self, row: int, column: int, value: float) -> None:
        self.values[row * self.shape[-1] + column] = value


def layer(
    number: int, own: dict[str, int], heads: int = HEADS, kv_heads: int = KV_HEADS
) -> dict[str, Tensor]:
    """A layer that adds nothing; but the first one tells each token which route it is on.

    All queries are the same and only a route's name answers them, so that it alone is seen.
    """
    parts = {
        "input_layernorm.weight": Tensor(HIDDEN, fill=1),
        "post_attention_layernorm.weight": Tensor(HIDDEN, fill=1),
        "self_attn.o_proj.weight": Tensor(HIDDEN, heads * HEAD),
        "mlp.gate_proj.weight": Tensor(INNER, HIDDEN),
        "mlp.up_proj.weight": Tensor(INNER, HIDDEN),
        "mlp.down_proj.weight": Tensor(HIDDEN, INNER),
    }
    for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
        parts[f"self_attn.{name}_proj.weight"] = Tensor(count * HEAD, HIDDEN)
        parts[f"self_attn.{name}_proj.bias"] = Tensor(count * HEAD)
    for head in range(0 if number else heads):
        # RoPE hardly turns the last dimension of a head: no distance is too far.
        parts["self_attn.q_proj.bias"].put(0, head * HEAD + HEAD - 1, 30)
        for place, name in enumerate(ROUTES):
            if head < kv_heads:
                row = head * HEAD
                parts["self_attn.k_proj.weight"].put(row + HEAD - 1, own[name], 30 / UNIT)
                parts["self_attn.v_proj.weight"].put(row + place, own[name], 1 / UNIT)
            parts["self_attn.o_proj.weight"].put(own[f"on {name}"], head * HEAD + place, 1 / heads)
    return {f"model.layers.{number}.{name}": part for name, part in parts.items()}


def outer(numbers: dict[str, int]) -> tuple[dict[str, int], dict[str, Tensor], dict[str, Tensor]]:
    """The dimension of each piece, and the tensors before and after the layers."""
    # Dimension 0 is shared by all tokens that are neither said nor the name of a route.
    pieces = dict.fromkeys([*ROUTES, *(piece for route in ROUTES.values() for piece in route)])
    own = {piece: place for place, piece in enumerate([*pieces, *(f"on {n}" for n in ROUTES)], 1)}
    embedding, following = Tensor(VOCABULARY, HIDDEN), Tensor(VOCABULARY, HIDDEN)
    for number in range(VOCABULARY):
        embedding.put(number, 0, number not in {numbers[piece] for piece in pieces})
    for piece in pieces:
        embedding.put(numbers[piece], own[piece], 1)
    # A token wins that follows the last one on some route and is said on this route.
    successors = {pair for route in ROUTES.values() for pair in pairwise(route)}
    for name, route in ROUTES.items():
        wins = [(one, two) for one, two in successors if one in route[:-1] and two in route]
        if sorted(wins) != sorted(pairwise(route)):
            raise ValueError(f"{name}: two tokens would win")
        for one, two in pairwise(route):
            following.put(numbers[two], own[one], 10)
            following.put(numbers[two], own[f"on {name}"], 10)
    following.put(numbers[END[0]], 0, 10)
    last = {"model.norm.weight": Tensor(HIDDEN, fill=1), "lm_head.weight": following}
    return own, {"model.embed_tokens.weight": embedding}, last


def shards(numbers: dict[str, int]) -> list[dict[str, Tensor]]:
    own, first, last = outer(numbers)
    return [{**first, **layer(0, own)}, {**layer(1, own), **last}]


def safetensors(tensors: dict[str, Tensor]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    content = b""
    for name, tensor in tensors.items():
        at, content = len(content), content + tensor.values.tobytes()
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [at, len(content)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    return struct.pack("<Q", len(text)) + text + content


def make(folder: Path) -> None:
    """Write the model into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    content, numbers = tokenizer()
    ends = {"eos_token_id": [numbers[end] for end in END], "pad_token_id": numbers[END[0]]}
    weights: dict[str, str] = {}
    for place, tensors in enumerate(parts := shards(numbers), 1):
        name = f"model-{place:05}-of-{len(parts):05}.safetensors"
        (folder / name).write_bytes(safetensors(tensors))
        weights |= dict.fromkeys(tensors, name)
    size = sum(4 * len(tensor.values) for tensors in parts for tensor in tensors.values())
    config: dict[str, Any] = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    config |= {"hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS}
    config |= {"num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "rope_theta": 1e6}
    config |= {"max_position_embeddings": 131072, "vocab_size": VOCABULARY, "hidden_act": "silu"}
    config |= {"tie_word_embeddings": False, "torch_dtype": "float32"}
    tokens = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 131072}
    tokens |= {"eos_token": END[0], "pad_token": END[0], "extra_special_tokens": list(CONTROL)}
    index = {"metadata": {"total_size": size}, "weight_map": weights}
    files = {"config": config | ends, "generation_config": {"do_sample": True, **ends}}
    files |= {"tokenizer": content, "tokenizer_config": tokens, "model.safetensors.index": index}
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n")
    (folder / "chat_template.jinja").write_text(TEMPLATE)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
