import json
from pathlib import Path

import pytest

from modelgrid.config.file import load_config, parse_config, set_value, write_atomically
from modelgrid.config.model import REDACTED, Config, redacted
from modelgrid.domain.errors import InvalidConfig


def refusals(text: str) -> list[dict[str, str]]:
    with pytest.raises(InvalidConfig) as caught:
        parse_config(text, source="config.json")
    assert caught.value.exit_code == 2
    problems: list[dict[str, str]] = caught.value.details["problems"]
    for problem in problems:
        assert problem["path"] in caught.value.message
        assert problem["expected"] in caught.value.message
    return problems


@pytest.mark.parametrize(
    ("text", "path", "expected"),
    [
        ('{"api": {"prot": 1}}', "api.prot", "did you mean 'port'"),
        ('{"api": {"port": "8080"}}', "api.port", "integer"),
        ('{"api": {"port": 99999}}', "api.port", "65535"),
        ('{"api": {"port": 8081}}', "api", "each its own port"),
        ('{"gpus": {"simulate": "yes"}}', "gpus.simulate", "boolean"),
        ('{"gpus": {"simulate": [{"name": "L4"}]}}', "gpus.simulate.0.vramGib", "required"),
        ('{"docker": {"runtime": "lxc"}}', "docker.runtime", "'docker'"),
        ('{"docker": {"image": {"cpu": "--privileged"}}}', "docker.image.cpu", "an image reference"),
        ('{"cluster": {"heartbeatInterval": 0}}', "cluster.heartbeatInterval", "greater"),
        ('{"cluster": {"labels": {"rack": "a b"}}}', "cluster.labels.rack", "pattern"),
        ('{"cluster": {"role": "worker", "peerPort": 8081}}', "the top level", "api.uiPort and cluster.peerPort"),
        ('{"cluster": {"role": "control-plane", "port": 8083}}', "the top level", "cluster.peerPort and cluster.port"),
        ('{"models": {"sources": [{"name": "x", "url": "catalog.json"}]}}', "models.sources.0.url", "/path/to/catalog"),
        ('{"models": {"sources": [{"name": "x", "url": "file:c.json"}]}}', "models.sources.0.url", "/path/to/catalog"),
        ('{"models": {"sources": [{"name": "x", "url": "file:/a%00"}]}}', "models.sources.0.url", "/path/to/catalog"),
        ('{"models": {"sources": [{"name": "x", "url": "HTTPS://h/c"}]}}', "models.sources.0.url", "/path/to/catalog"),
        ('{"containers": [{"name": "a", "model": "m", "gpus": "x"}]}', "containers.0.gpus", "integer"),
        ('{"containers": [{"name": "-rm", "model": "m"}]}', "containers.0.name", "pattern"),
        ("[]", "the top level", "object"),
    ],
)
def test_a_refusal_names_path_value_and_what_was_expected(text: str, path: str, expected: str) -> None:
    problems = {problem["path"]: problem for problem in refusals(text)}
    assert expected in problems[path]["expected"]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("docker", "modelCacheDir", "/srv\0/models"),
        ("docker", "modelCacheDir", "/srv\x1b[2J"),
        ("docker", "allowedMounts", ["/srv", "/srv\0"]),
        ("docker", "socketPath", "\0"),
        ("docker", "vllmPath", "vllm\n"),
        ("docker", "imageCommands", {"a": ["vllm\0"]}),
        ("api", "uiHosts", ["proxy\0"]),
        ("api", "host", "a\x7f"),
        ("cluster", "seeds", ["\0"]),
        ("gpus", "assignments", {"nvidia-0\0": "m"}),
        ("models", "autoLoad", ["m\0"]),
    ],
)
def test_a_text_has_no_control_characters(section: str, key: str, value: object) -> None:
    (problem,) = refusals(json.dumps({section: {key: value}}))
    assert (problem["path"], problem["expected"]) == (
        f"{section}.{key}",
        "a text without control characters is expected",
    )


def test_what_programs_are_given_may_have_lines_and_no_end() -> None:
    container = {"name": "a", "model": "m", "args": ["--chat-template", "{{ a }}\n{{ b }}"], "env": {"A": "b\nc"}}
    config = parse_config(json.dumps({"containers": [container]}), source="config.json")
    assert config.containers[0].env == {"A": "b\nc"}
    for key, value in (("args", ["a\0"]), ("env", {"A": "b\0"}), ("image", "a\nb")):
        (problem,) = refusals(json.dumps({"containers": [{**container, key: value}]}))
        assert problem["path"] == f"containers.0.{key}"


@pytest.mark.parametrize(
    "text",
    [
        '{"cluster": {"sharedSecret": "hunter2"}}',
        '{"containers": [{"name": "a", "model": "m", "env": {"HF_TOKEN": 12345678}}]}',
        '{"containers": [{"name": "a", "env": {"HF_TOKEN": "hunter2"}}]}',
    ],
)
def test_a_refusal_shows_no_secret(text: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_config(text, source="config.json")
    said = f"{caught.value} {json.dumps(dict(caught.value.details))}"
    assert "hunter2" not in said
    assert "12345678" not in said


def test_ports_that_a_role_does_not_have_clash_with_nothing() -> None:
    config = parse_config('{"api": {"port": 8082, "host": "::1"}}', source="config.json")
    assert dict(config.cluster_ports) == {}
    assert config.cluster_host == "::1"


def test_two_containers_of_one_name_are_refused() -> None:
    twice = [{"name": "a", "model": "m"}, {"name": "a", "model": "n"}]
    assert "used twice" in refusals(json.dumps({"containers": twice}))[0]["expected"]


@pytest.mark.parametrize("text", ['{"api":', "", "{]", "nonsense"])
def test_half_a_file_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(InvalidConfig, match="line 1"):
        parse_config(text, source="config.json")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidConfig, match="UTF-8"):
        load_config(path)


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cannot be read"):
        load_config(tmp_path)


def test_no_file_means_the_defaults_unless_it_was_named(tmp_path: Path) -> None:
    assert load_config(tmp_path / "none.json") == Config()  # type: ignore[call-arg]
    with pytest.raises(InvalidConfig, match="config init"):
        load_config(tmp_path / "none.json", must_exist=True)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    write_atomically(path, "old")

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["config.json"]


def test_written_files_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config.json"
    write_atomically(path, "{}")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_value_is_set_without_touching_its_neighbours() -> None:
    document = {"api": {"port": 1, "host": "h"}}
    assert set_value(document, "api.port", 2) == {"api": {"port": 2, "host": "h"}}
    assert document == {"api": {"port": 1, "host": "h"}}


def test_shown_configuration_has_no_secrets() -> None:
    document = {
        "cluster": {"sharedSecret": "hunter2hunter2hunter2"},
        "containers": [{"name": "a", "env": {"HF_TOKEN": "hunter2"}}, {"name": "b"}],
    }
    shown = redacted(document)
    assert "hunter2" not in json.dumps(shown)
    assert shown["containers"][0]["env"] == {"HF_TOKEN": REDACTED}
    assert document["cluster"]["sharedSecret"] == "hunter2hunter2hunter2"
