"""What vLLM is told, and what one replica takes of the cluster."""

import dataclasses
import json

import pytest

from hare_ray.synth.server import GPU_SEQUENCES, Server, context_tokens, engine_arguments


def server(**changed) -> Server:
    return dataclasses.replace(Server("org/model", "model", gpus=0, replicas=1, cpus=1), **changed)


def folder(path, config: dict) -> str:
    (path / "config.json").write_text(json.dumps(config))
    return str(path)


def test_a_replica_takes_one_bundle_per_gpu_or_a_cpu_or_only_memory():
    assert server(gpus=4).bundles == [{"CPU": 1.0, "GPU": 1.0}, *[{"GPU": 1.0}] * 3]
    assert server().bundles == [{"CPU": 1.0}]
    assert list(server(cpus=0).bundles[0]) == ["memory"]


def test_an_application_is_of_one_model_on_one_kind_of_replica():
    same = server().app
    assert server().app == same
    changes = ({"model": "org/other"}, {"name": "x"}, {"gpus": 1}, {"replicas": 2}, {"idle_seconds": 60.0})
    assert len({same, *(server(**change).app for change in changes)}) == 6


@pytest.mark.slow
def test_engine_arguments_are_those_of_vllm(tmp_path):
    arg_utils = pytest.importorskip("vllm.engine.arg_utils")
    known = {field.name for field in dataclasses.fields(arg_utils.AsyncEngineArgs)}
    model = folder(tmp_path, {"max_position_embeddings": 131_072})
    for gpus in (0, 2):
        assert set(engine_arguments(server(model=model, gpus=gpus))) <= known


def test_a_gpu_engine_gets_large_batches_shared_prefixes_and_its_share_of_the_gpus(tmp_path):
    told = engine_arguments(server(model=folder(tmp_path, {"max_position_embeddings": 131_072}), gpus=2))
    assert told["tensor_parallel_size"] == 2
    assert told["enable_prefix_caching"]
    assert told["max_num_seqs"] == GPU_SEQUENCES
    assert told["max_num_batched_tokens"] >= told["max_model_len"] == 131_072


def test_a_cpu_engine_never_cuts_a_prompt(tmp_path):
    told = engine_arguments(server(model=folder(tmp_path, {"max_position_embeddings": 8192})))
    assert not told["enable_chunked_prefill"]
    assert told["max_num_batched_tokens"] >= told["max_model_len"] == 8192


def test_the_context_is_read_from_the_folder_or_left_to_vllm(tmp_path):
    assert context_tokens("org/model") is None
    assert "max_model_len" not in engine_arguments(server(gpus=1))
    assert context_tokens(folder(tmp_path, {})) is None
    with pytest.raises(ValueError, match=r"no config\.json .*expected a Hugging Face model"):
        engine_arguments(server(model=str(tmp_path / "nothing")))


def test_a_model_in_a_folder_is_never_looked_up_on_the_hub(tmp_path):
    assert server(model=str(tmp_path)).environment["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in server().environment
    assert not any(name.startswith("VLLM_CPU") for name in server(gpus=1).environment)
