"""The configuration that an OCI runtime is given, and what it says in return; no runtime needed."""

import json
from typing import Any

import pytest

from commands.drivers.base import JailSpec, MountedVolume, Network
from commands.drivers.oci import held_capabilities, last_error, parsed_state
from commands.drivers.oci_config import merged, rendered
from commands.drivers.signals import signal_word
from commands.errors import DriverError

SPEC = JailSpec(driver="oci", name="web", root="/roots/web", command=("/bin/true",), settings="/etc/web.json")
EVERYTHING = -1


def config(settings: str | None = None, held: int = EVERYTHING, network: str | None = None, **changes: object) -> Any:
    text = settings.encode() if settings is not None else None
    return json.loads(rendered(SPEC.model_copy(update=changes), "/oci/web", held, text, network))


def volume(path: str, source: str = "/pool/v") -> tuple[MountedVolume, ...]:
    return (MountedVolume(name="v", source=source, path=path),)


def test_the_root_is_read_only_and_the_cgroup_is_told_from_a_namesakes() -> None:
    made = config()
    assert made["root"] == {"path": "/roots/web", "readonly": True}
    assert made["linux"]["cgroupsPath"].startswith("/rootswap/web.")
    assert made == config(), "the same jail gives the same file"
    other = json.loads(rendered(SPEC, "/elsewhere/web", EVERYTHING))
    assert other["linux"]["cgroupsPath"] != made["linux"]["cgroupsPath"]


def test_the_words_of_the_command_and_of_the_environment_stay_as_they_are() -> None:
    made = config(command=("/bin/x", 'a "b"', "c\nd", ""), environment=(("A", " b\nc"), ("PATH", "/bin")))
    assert made["process"]["args"] == ["/bin/x", 'a "b"', "c\nd", ""]
    assert {"A= b\nc", "PATH=/bin"} <= set(made["process"]["env"])


def test_an_outer_volume_is_mounted_before_an_inner_one_and_after_the_scratch_space() -> None:
    both = (*volume("/var/log", "/pool/inner"), *volume("/var", "/pool/outer"))
    mounts = [mount["destination"] for mount in config(volumes=both)["mounts"]]
    assert mounts[-4:] == ["/run", "/tmp", "/var", "/var/log"]


def test_a_volume_at_tmp_takes_the_place_of_the_scratch_space() -> None:
    mounts = [mount for mount in config(volumes=volume("/tmp"))["mounts"] if mount["destination"] == "/tmp"]
    assert mounts == [{"destination": "/tmp", "type": "bind", "source": "/pool/v", "options": ["bind", "rw"]}]


@pytest.mark.parametrize("path", ["/", "srv", "/srv/../etc", "/proc", "/dev/shm", "/sys/fs", "/run/app", "/tmp/x"])
def test_a_volume_that_could_not_be_seen_is_refused(path: str) -> None:
    with pytest.raises(DriverError, match="no place for one"):
        config(volumes=volume(path))


def test_no_capability_is_given_that_is_dropped_or_that_we_do_not_hold() -> None:
    kept = config()["process"]["capabilities"]["bounding"]
    assert "CAP_CHOWN" in kept and "CAP_SYS_RESOURCE" in kept
    assert not {"CAP_SYS_ADMIN", "CAP_MKNOD", "CAP_NET_ADMIN"} & set(kept)
    less = config(held=~(1 << 24))["process"]["capabilities"]
    assert set(kept) - set(less["bounding"]) == {"CAP_SYS_RESOURCE"}
    veth = rendered(SPEC.model_copy(update={"network": Network(kind="veth")}), "/oci/web", EVERYTHING, None, "/run/n")
    assert "CAP_NET_ADMIN" in json.loads(veth)["process"]["capabilities"]["bounding"]
    assert {"type": "network", "path": "/run/n"} in json.loads(veth)["linux"]["namespaces"]
    assert not [one for one in config()["linux"]["namespaces"] if one["type"] == "network"]


def test_the_settings_are_merged_over_and_can_take_away() -> None:
    made = config('{"hostname": "other", "linux": {"maskedPaths": null, "resources": {"pids": {"limit": 9}}}}')
    assert made["hostname"] == "other"
    assert "maskedPaths" not in made["linux"]
    assert made["linux"]["resources"]["pids"] == {"limit": 9}
    assert made["linux"]["resources"]["devices"], "what is not named stays"


def test_tables_are_merged_key_by_key_and_all_else_is_replaced() -> None:
    assert merged({"a": {"b": 1, "c": 2}, "d": [1, 2]}, {"a": {"b": None, "x": {"y": 3}}, "d": [4]}) == {
        "a": {"c": 2, "x": {"y": 3}},
        "d": [4],
    }


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ("nonsense", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"root": {"readonly": false}}', "root is rootswap's to say"),
        ('{"root": null}', "root is rootswap's to say"),
        ('{"linux": {"cgroupsPath": "/"}}', "linux.cgroupsPath is rootswap's to say"),
        ('{"linux": null}', "linux.cgroupsPath is rootswap's to say"),
        ('{"process": {"terminal": true}}', "process.terminal is rootswap's to say"),
    ],
)
def test_settings_that_would_lead_rootswap_astray_are_refused(settings: str, cause: str) -> None:
    with pytest.raises(DriverError, match=cause):
        config(settings)


@pytest.mark.parametrize(
    ("name", "word"), [("SIGTERM", "SIGTERM"), ("SIGRTMIN+3", "37"), ("SIGRTMAX-1", "63"), ("SIGRTMIN", "34")]
)
def test_a_real_time_signal_is_told_by_its_number(name: str, word: str) -> None:
    assert signal_word(name) == word


def test_the_state_of_a_container_is_understood() -> None:
    assert parsed_state('{"status": "running", "pid": 7}') == ("running", 7)
    assert parsed_state('{"status": "stopped", "pid": 0}') == ("stopped", None)
    for nonsense in ("", "[]", "{}", "running"):
        with pytest.raises(DriverError, match="cannot understand the state"):
            parsed_state(nonsense)


def test_the_last_error_of_a_log_is_told() -> None:
    log = '{"level":"warning","msg":"w"}\nnoise\n{"level":"error","msg":"runc run failed: no such file"}\n'
    assert last_error(log) == "no such file"
    assert last_error("") == last_error('{"level":"info","msg":"x"}\n') == ""


def test_what_we_hold_ourselves_is_read_from_the_kernel() -> None:
    assert held_capabilities("Name:\tx\nCapBnd:\t000001fffeffffff\n") == 0x1FFFEFFFFFF
    assert held_capabilities("") == EVERYTHING
