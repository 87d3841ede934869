"""`modelgrid config …` on the file alone: what is refused changes nothing."""

import json
import os
import socket
import stat

import pytest
from cli_kit import Place


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "config.json", tmp_path / "state")


def test_init_makes_a_valid_file_once(place, capsys):
    made = place.here(capsys, "config", "init", "--json")
    assert made.code == 0
    assert made.json["path"] == str(place.config)
    assert stat.S_IMODE(place.config.stat().st_mode) == 0o600
    assert place.here(capsys, "config", "validate", "--json").json == {"path": str(place.config), "valid": True}
    again = place.here(capsys, "config", "init")
    assert again.code == 1
    assert "--force" in again.err
    assert place.here(capsys, "config", "init", "--force").code == 0
    assert json.loads(place.config.read_text())["gpus"]["simulate"] is False


def test_get_prints_text_bare_and_json_on_request(place, capsys):
    assert place.here(capsys, "config", "get", "api.host").out == "127.0.0.1\n"
    assert place.here(capsys, "config", "get", "api.host", "--json").out == '"127.0.0.1"\n'
    assert place.here(capsys, "config", "get", "api.port").out == "8080\n"
    near = place.here(capsys, "config", "get", "api.prt")
    assert near.code == 1
    assert "'port'" in near.err


def test_set_keeps_the_rest_the_mode_and_the_link(place, tmp_path, capsys):
    real = tmp_path / "real.json"
    real.write_text('{"nodeName": "a", "api": {"uiPort": 9001}}')
    real.chmod(0o640)
    place.config.symlink_to(real)
    said = place.here(capsys, "config", "set", "api.port", "9000", "--json")
    change = {"path": "api.port", "before": 8080, "after": 9000, "restart_required": True}
    assert said.json == {
        "path": str(place.config), "key": "api.port", "value": 9000, "diff": [change], "dry_run": False,
        "restart_required": True,
    }  # fmt: skip
    assert json.loads(real.read_text()) == {"nodeName": "a", "api": {"uiPort": 9001, "port": 9000}}
    assert place.config.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_a_dry_run_shows_the_change_and_makes_none(place, capsys):
    place.config.write_text('{"api": {"port": 9000}}')
    said = place.here(capsys, "config", "set", "api.port", "9001", "--dry-run")
    assert said.code == 0
    assert "api.port: 9000 → 9001" in said.out + said.err
    assert place.config.read_text() == '{"api": {"port": 9000}}'


@pytest.mark.parametrize("text", [None, '{"api":{"port":9000}}'])
def test_what_changes_nothing_writes_nothing(place, capsys, text):
    if text is not None:
        place.config.write_text(text)
    said = place.here(capsys, "config", "set", "api.rateLimit", "null")
    assert said.code == 0
    assert "has that value already" in said.out + said.err
    shaped = place.here(capsys, "config", "set", "api.rateLimit", "null", "--json").json
    assert (shaped["diff"], shaped["restart_required"]) == ([], False)
    assert (place.config.read_text() if place.config.exists() else None) == text


def test_what_mends_the_file_is_written_though_the_default_is_what_holds_then(place, capsys):
    place.config.write_text('{"api": {"port": "eighty"}}')
    said = place.here(capsys, "config", "set", "api.port", "8080")
    assert "written" in said.out + said.err
    assert json.loads(place.config.read_text()) == {"api": {"port": 8080}}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_set_keeps_the_owner(place, capsys):
    place.config.write_text("{}")
    os.chown(place.config, 12345, 12346)
    assert place.here(capsys, "config", "set", "api.port", "9000").code == 0
    assert (place.config.stat().st_uid, place.config.stat().st_gid) == (12345, 12346)


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("api.port", "99999", ["api.port", "99999", "65535"]),
        ("api.port", "eighty", ["api.port", "eighty", "integer"]),
        ("api.prt", "9000", ["api.prt", "9000", "unknown key", "'port'"]),
        ("api.uiPort", "8080", ["api.port and api.uiPort are both 8080"]),
        ("api.port.deeper", "1", ["api.port"]),
        ("docker.runtime", "dokcer", ["docker.runtime", "dokcer", "docker"]),
    ],
)
def test_a_refused_value_changes_nothing(place, capsys, key, value, parts):
    before = '{"api": {"port": 8080}}\n'
    place.config.write_text(before)
    said = place.here(capsys, "config", "set", key, value)
    assert (said.code, said.out) == (2, "")
    assert [part for part in parts if part not in said.err] == []
    assert place.config.read_text() == before
    assert [item.name for item in place.config.parent.iterdir()] == ["config.json"]
    shaped = place.here(capsys, "config", "set", key, value, "--json")
    assert (shaped.code, shaped.error["code"]) == (2, "invalid_config")


@pytest.mark.parametrize("text", ['{"api": {"port": 80', "", "[]", "null", '"x"', "\x00"])
def test_a_half_written_file_is_an_error_that_says_where(place, capsys, text):
    place.config.write_text(text)
    for verb in (["config", "validate"], ["config", "set", "api.port", "9000"], ["config", "show"], ["up"]):
        said = place.here(capsys, *verb)
        assert (said.code, said.out) == (2, ""), verb
        assert "config.json" in said.err
        assert "Traceback" not in said.err
    assert place.config.read_text() == text


def test_a_file_that_cannot_be_read(place, capsys):
    place.config.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in place.here(capsys, "config", "validate").err
    place.config.unlink()
    place.config.mkdir()
    assert place.here(capsys, "config", "show").code == 2
    place.config.rmdir()
    missing = place.here(capsys, "config", "validate")
    assert missing.code == 2
    assert "modelgrid config init" in missing.err


def test_what_is_wrong_with_a_file_is_said_by_who_opens_it(place, tmp_path, capsys, monkeypatch):
    """The parser of the command line would say that it is not readable, and neither why nor what to do."""
    assert place.here(capsys, "config", "init").code == 0
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert place.here(capsys, "config", "validate").code == 0
    assert place.here(capsys, "config", "validate", "--config", str(place.config)).code == 0
    for verb in (["ps"], ["backup", str(tmp_path)], ["restore", str(tmp_path)]):
        assert "is not readable" not in place.here(capsys, *verb, "--state-dir", str(tmp_path)).err


def test_a_path_that_cannot_be_looked_at_is_an_error_and_no_crash(place, capsys):
    odd = f"/{'x' * 300}"  # no file system takes such a name; a folder of somebody else fails at the same places
    for verb in (["config", "init", "--config", odd], ["backup", odd]):
        said = place.here(capsys, *verb)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith("Error: ")
        assert "File name too long" in said.err


def test_secrets_are_never_shown(place, capsys):
    secret = "correct-horse-battery"
    said = place.here(capsys, "config", "set", "cluster.sharedSecret", secret)
    assert said.code == 0, said.err
    refused = place.here(capsys, "config", "set", "cluster.sharedSecret", "short-one")
    assert refused.code == 2
    place.config.write_text(json.dumps({**json.loads(place.config.read_text()), "containers": [
        {"name": "a", "model": "m", "env": {"HF_TOKEN": "hf_secret"}}
    ]}))  # fmt: skip
    verbs = ["config show", "config show --json", "config get cluster", "config get containers"]
    shown = "".join(place.here(capsys, *verb.split()).out for verb in verbs)
    assert shown
    for hidden in (secret, "hf_secret"):
        assert hidden not in shown + said.err + said.out


def test_schema_is_a_schema(place, capsys):
    schema = place.here(capsys, "config", "schema").json
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert "api" in schema["properties"]


def test_no_daemon_is_an_error_with_the_way_to_one(place, capsys):
    said = place.here(capsys, "ps")
    assert said.code == 1
    assert "modelgrid up" in said.err
    (place.state / "run").mkdir(parents=True)
    (place.state / "token").write_text("t")
    (place.state / "run/endpoint.json").write_text('{"url": "http://127.0.0.1:9"}')
    refused = place.here(capsys, "ps", "--json")
    assert (refused.code, refused.error["code"]) == (1, "daemon_unreachable")
    assert "modelgrid doctor" in refused.error["fix"]
    (place.state / "run/endpoint.json").write_text('{"url": ')
    torn = place.here(capsys, "ps")
    assert torn.code == 1
    assert "--state-dir" in torn.err


def test_url_needs_a_credential_and_a_scheme(place, capsys, monkeypatch):
    monkeypatch.delenv("MODELGRID_TOKEN", raising=False)
    assert "--token" in place.here(capsys, "ps", "--url", "http://127.0.0.1:9").err
    odd = place.here(capsys, "ps", "--url", "gpu-1:8081", "--token", "t")
    assert odd.code == 2
    assert "http://" in odd.err


def test_gpus_and_drivers_are_read_from_the_machine_before_the_first_start(place, capsys):
    listed = place.here(capsys, "gpu", "list")
    assert listed.code == 0
    assert "read from the machine itself" in listed.err
    assert "No daemon has been started with the state directory" in listed.err
    assert "items" in place.here(capsys, "gpu", "list", "--json").json
    vendors = [item["vendor"] for item in place.here(capsys, "gpu", "drivers", "--json").json["items"]]
    assert vendors == ["nvidia", "amd", "intel"]
    elsewhere = place.here(capsys, "gpu", "list", "--url", "http://127.0.0.1:9", "--token", "t")
    assert elsewhere.code == 1, "another machine was meant"


def test_doctor_without_a_daemon_tells_what_it_can(place, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        place.config.write_text(json.dumps({"api": {"port": port}}))
        said = place.here(capsys, "doctor", "--json")
    assert said.code == 1
    found = {item["name"]: item for item in said.json["items"]}
    assert found["daemon"]["result"] == "failed"
    assert found["api.port"]["result"] == "failed"
    assert str(port) in found["api.port"]["fix"]
    place.config.write_text(json.dumps({"api": {"uiHost": "192.0.2.7"}}))
    elsewhere = {item["name"]: item for item in place.here(capsys, "doctor", "--json").json["items"]}
    assert elsewhere["api.uiPort"]["fix"] == "Set api.uiHost in config.json to an address of this machine."
    place.config.write_text("{")
    broken = place.here(capsys, "doctor")
    assert broken.code == 1
    assert "config.json" in broken.out
