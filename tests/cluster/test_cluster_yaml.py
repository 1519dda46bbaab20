"""cluster.yaml as Ray's own launcher reads it, short of AWS: schema, defaults, and what must hold of ours."""

import copy
import json
import re
import shlex
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOKEN = "RAY_AUTH_MODE=token"


@pytest.fixture(scope="module")
def written():
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


@pytest.fixture(scope="module")
def filled(written):
    """After Ray's defaults; the launcher validates before and after."""
    util = pytest.importorskip("ray.autoscaler._private.util")
    config = util.prepare_config(copy.deepcopy(written))
    util.validate_config(config)
    return config


def workers(config):
    return {name: kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]}


def commands(config):
    """Every list of commands, the node types' own included."""
    places = [config, *config["available_node_types"].values()]
    names = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
             "head_start_ray_commands", "worker_start_ray_commands")  # fmt: skip
    return [command for place in places for name in names for command in place.get(name, [])]


def test_the_schema_would_notice_a_misspelling(filled):
    util = pytest.importorskip("ray.autoscaler._private.util")
    jsonschema = pytest.importorskip("jsonschema")
    wrong = copy.deepcopy(filled)
    wrong["idle_timeout_minuts"] = 5
    with pytest.raises(jsonschema.ValidationError):
        util.validate_config(wrong)


def test_the_head_does_no_work(filled):
    head = filled["available_node_types"][filled["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    assert (head["min_workers"], head["max_workers"]) == (0, 0)


def test_workers_start_from_none_and_all_of_them_fit(filled):
    kinds = workers(filled)
    assert set(kinds) == {"cpu", "serve", "train"}
    assert all(kind["min_workers"] == 0 < kind["max_workers"] for kind in kinds.values())
    assert sum(kind["max_workers"] for kind in kinds.values()) <= filled["max_workers"]
    assert 0 < filled["idle_timeout_minutes"] <= 30


def test_ray_starts_only_with_a_token(filled):
    starts = filled["head_start_ray_commands"] + filled["worker_start_ray_commands"]
    assert sum("ray start" in command for command in starts) == 2
    for command in starts:
        for call in re.findall(r"(\S*) ray (?:start|stop)", command):
            assert call == TOKEN
    assert filled["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert not any("0.0.0.0" in command for command in starts)


def test_the_token_is_where_ray_keeps_it(filled, monkeypatch, tmp_path):
    setup = pytest.importorskip("ray._private.authentication.authentication_token_setup")
    monkeypatch.setenv("HOME", str(tmp_path))
    (mounted,) = [path for path in filled["file_mounts"] if "auth" in path]
    assert Path(mounted).expanduser() == setup._get_default_token_path()


def test_what_is_mounted_is_in_the_repository_and_small(filled):
    ours = {remote: local for remote, local in filled["file_mounts"].items() if not local.startswith("~")}
    for remote, local in ours.items():
        assert (ROOT / local).exists()
        assert remote == f"~/hare_ray/{local}"
        assert not any((ROOT / local).rglob(".venv*"))
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {needed["readme"], *needed["license-files"], "hare_ray", "Makefile", "pyproject.toml"} <= set(ours.values())
    assert "locks" in ours.values()
    assert "locks/cpu.txt" in (ROOT / "Makefile").read_text()


def test_commands_name_only_what_exists(filled):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    mounted = {Path(remote).name for remote in filled["file_mounts"]}
    for command in commands(filled):
        for target in re.findall(r"make ([a-z]\S*)(?= |$)", command.replace("make g++", "")):
            assert target in targets
        for extra in re.findall(r"\.\[(\w+)\]", command):
            assert extra in extras
        for path in re.findall(r"~/hare_ray/([\w./-]+)", command):
            assert path.startswith(".venv") or path in mounted
        assert shlex.split(command)


def test_gpu_nodes_install_the_pinned_ray_and_cpu_nodes_the_lock(filled):
    (pin,) = {pin for line in requires("hare_ray") or [] for pin in re.findall(r"ray\[llm[^]]*\]==([\d.]+)", line)}
    for name in ("serve", "train"):
        setup = " ".join(filled["available_node_types"][name]["worker_setup_commands"])
        assert f'"ray[llm]=={pin}"' in setup
        assert ".[gpu]" in setup
        assert "make install" not in setup
    for setup in (filled["head_setup_commands"], filled["worker_setup_commands"]):
        assert [command for command in setup if "make install PYTHON=python3.11" in command]
    assert "worker_setup_commands" not in filled["available_node_types"]["cpu"]


def test_images_are_named_by_parameter_and_profiles_are_given(filled):
    """Ray's own default image is too old; an id would be of one region."""
    for name, kind in filled["available_node_types"].items():
        node = kind["node_config"]
        assert node["ImageId"].startswith("resolve:ssm:/aws/service/")
        assert node["IamInstanceProfile"]["Name"] == f"hare-ray-{'head' if name == 'head' else 'worker'}"
    assert "ami-0" not in json.dumps(filled)


def test_ray_would_keep_these_images(filled):
    """The launcher fills in an image only where none is given."""
    aws = pytest.importorskip("ray.autoscaler._private.aws.config")
    config = copy.deepcopy(filled)
    aws._check_ami(config)
    assert config == filled
    del config["available_node_types"]["cpu"]["node_config"]["ImageId"]
    aws._check_ami(config)
    assert config["available_node_types"]["cpu"]["node_config"]["ImageId"].startswith("ami-")
    assert "Ubuntu 18.04" in aws.DEFAULT_AMI_NAME
