"""What is served and how vLLM is told to: one value and one dictionary, for the server and the batch path alike.

A replica works on as many sequences at a time as pay (SEQUENCES), in steps of at most BATCHED_TOKENS. On one H100
(tokens/s with 256 sequences and 8,192 tokens a step, the defaults, and tuned): a 1 B model with grouped-query
attention 14,800 and 16,800, one of 1.7 B with multi-head attention 5,300 and 9,200, one of 135 M 28,400 and 45,500.
All of them gained by more sequences or larger steps, none lost. What does not fit into the cache of keys and values
waits inside vLLM. Prefixes are cached: prompts of one template begin alike.

On a CPU the engine runs eagerly, in float32, without cutting prompts, and with the model in the engine's process.
vLLM's own statistics are off everywhere: they cost a loop over all sequences in each step, and the door of a replica
counts what its clients need.
"""

from __future__ import annotations

import hashlib
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "hare-"
"""Of the names of our Serve applications."""

CPU_SEQUENCES, GPU_SEQUENCES = 64, 1024
"""Sequences a replica works on at a time. On GPU vLLM's default of 256 leaves a small model's GPU idle."""

GPU_BATCHED_TOKENS = 32_768
"""Per step of the engine; the default of 8192 is for latency."""

CPU_BATCHED_TOKENS = 2048

GPU_MEMORY_SHARE = 0.92
"""Of a GPU, for weights, activations and the cache of keys and values; the rest is for CUDA and its graphs."""

REPLICA_BYTES = 1 << 30
"""Memory that stands for a replica which has no CPU of its own to count; a bundle must hold something."""

MOST_THREADS = 16
"""Of an engine on a CPU; with more, vLLM 0.13 failed (vllm#32651)."""

HANG_SECONDS = 120.0
"""More than the longest step of an engine: 2048 tokens of prompts through a 1 B model take 40 s on two CPUs."""

CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # Ray says where a process runs; binding fails in containers
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # or vLLM refuses to run the model in the engine's own process
}


@dataclass(frozen=True)
class Server:
    """What is served, and on what."""

    model: str
    """A folder, or a name on the hub."""
    name: str
    """To be asked for under this."""
    gpus: int
    """Of one replica, over which its tensors are split; 0: it runs on a CPU."""
    replicas: int
    """At most; more are started where requests wait."""
    cpus: int
    """Of one replica, 1 or 0."""
    idle_seconds: float = 0.0
    """Without a request for so long, the last replica ends too, and the next request starts one; 0: one stays."""
    hang_seconds: float = HANG_SECONDS
    """An engine without a sign of life for so long is replaced."""
    threads: int = 1
    """Of an engine on a CPU."""

    @property
    def app(self) -> str:
        """Name of the Serve application: the same for the same model."""
        return f"{PREFIX}{hashlib.sha256(repr(self).encode()).hexdigest()[:12]}"

    @property
    def capacity(self) -> int:
        """Sequences that one replica works on at a time."""
        return GPU_SEQUENCES if self.gpus else CPU_SEQUENCES

    @property
    def bundles(self) -> list[dict[str, float]]:
        """Resources of one replica, in Ray's names: one bundle a GPU, the first with the CPU."""
        cpus = {"CPU": 1.0} if self.cpus else {"memory": float(REPLICA_BYTES)}
        return [{**cpus, "GPU": 1.0}, *[{"GPU": 1.0}] * (self.gpus - 1)] if self.gpus else [cpus]

    @property
    def environment(self) -> dict[str, str]:
        """Of the replica's process."""
        local = {"HF_HUB_OFFLINE": "1"} if Path(self.model).is_absolute() else {}
        quiet = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
        # Ray gives a process as many threads as it has CPUs; of this one most do nothing while the model runs.
        on_cpu = {**CPU_ENVIRONMENT, "OMP_NUM_THREADS": str(self.threads)}
        return {**quiet, **local, **({} if self.gpus else on_cpu)}


def engine_threads(replicas: int) -> int:
    """Threads of an engine on a CPU: all of a node's, shared with the replicas that may come to lie beside it."""
    import ray

    most = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=1)
    return max(1, min(MOST_THREADS, int(most) // replicas))


def engine_arguments(server: Server) -> dict[str, Any]:
    """What vLLM is told. ValueError where a folder holds no model."""
    length = context_tokens(server.model)
    known: dict[str, Any] = {
        "disable_log_stats": True,
        # Else a JSON schema allows blanks between any two tokens, and a small model may write nothing else to the end.
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        **({} if length is None else {"max_model_len": length}),
    }
    if server.gpus:
        return {
            **known,
            "tensor_parallel_size": server.gpus,
            "gpu_memory_utilization": GPU_MEMORY_SHARE,
            "max_num_seqs": GPU_SEQUENCES,
            "max_num_batched_tokens": max(GPU_BATCHED_TOKENS, length or 0),
            "enable_prefix_caching": True,
        }
    return {
        **known,
        "dtype": "float32",  # as fast as bfloat16 without hardware for it, and exact
        "enforce_eager": True,
        "max_num_seqs": CPU_SEQUENCES,
        "max_num_batched_tokens": max(CPU_BATCHED_TOKENS, length or 0),
        # A prompt cut in two with a seed of its own ends the engine of vLLM 0.29 on CPU ("does not use offset").
        "enable_chunked_prefill": False,
    }


def context_tokens(model: str) -> int | None:
    """The context of the model in a folder; None for a name on the hub, which vLLM looks up."""
    if not Path(model).is_absolute():
        return None
    config = Path(model) / "config.json"
    if not config.is_file():
        raise ValueError(
            f"the folder {model} holds no config.json on {socket.gethostname()}; expected a Hugging Face model "
            "(config.json, model.safetensors, tokenizer.json) on every node that may serve it; put it, or the run's "
            "root, on a file system that all nodes mount, or name a model on the hub with llm=, or give an endpoint"
        )
    return json.loads(config.read_bytes()).get("max_position_embeddings")
