"""Configurations made to do harm, and files that are none: one sentence each, with file, key and exit code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands.config import load, read
from commands.errors import ConfigError
from tests.cli.test_config_files import HEALTH, JAIL, TEMPLATE, mistakes

CONTROL = "write no more than one line of plain text"


@pytest.mark.parametrize("kind", ["pipe", "device", "huge", "directory of directories"])
def test_only_a_regular_file_of_some_size_is_read_and_nothing_is_waited_for(fast_directory: Path, kind: str) -> None:
    path = fast_directory / "rootswap.toml"
    match kind:
        case "pipe":
            os.mkfifo(path, 0o600)
        case "device":
            path.symlink_to("/dev/null")
        case "huge":
            with path.open("wb") as file:
                file.truncate(1 << 32)
        case _:
            path.mkdir()
            path = fast_directory
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert caught.value.exit_code == 78
    assert caught.value.message.startswith(("cannot read", "cannot trust"))


def test_a_relative_path_from_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from commands.cli import main; sys.exit(main(sys.argv[1:]))"
    for words, status in ((("--config", "x.toml", "status"), 78), (("audit", "prove", "1", "-o", "x"), 78)):
        gone.mkdir(exist_ok=True)
        argv = [sys.executable, "-c", code, *words]
        ended = subprocess.run(argv, cwd=gone, capture_output=True, text=True, env={"PATH": "/bin"}, check=False)
        assert (ended.returncode, "this is a bug" in ended.stderr) == (status, False), ended.stderr
        assert ended.stderr.startswith("rootswap: cannot ")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (TEMPLATE + '[jail.web]\ntemplate = "t"\ncommand = ["/x", "a\\u0000b"]',
         f"jail.web.command: it has the control character '\\x00'; {CONTROL}"),
        (JAIL + 'environment = { A = "1\\nlxc.hook.start = /evil" }',
         f"jail.web.environment.A: it has the control character '\\n'; {CONTROL}"),
        (JAIL + 'environment = { "A\\u001b" = "1" }',
         'jail.web.environment."A\\x1b": the key has the control character \'\\x1b\''),
        (JAIL + 'network = { kind = "veth", link = "br0\\r" }',
         f"jail.web.network.link: it has the control character '\\r'; {CONTROL}"),
        (JAIL + 'network = { kind = "veth", link = "../br0" }',
         "jail.web.network.link: '../br0' is not the name of a network interface: at most 15 characters, none of "
         "/ : %"),
        (JAIL + 'network = { kind = "veth", interface = "a-name-that-is-too-long" }',
         "jail.web.network.interface: 'a-name-that-is-too-long' is not the name of a network interface: at most 15 "
         "characters, none of / : %"),
        (HEALTH + 'http = "http://127.0.0.1:99999/"',
         "jail.web.health.page.http: 'http://127.0.0.1:99999/' is not a URL, as http://127.0.0.1:8080/"),
        (HEALTH + 'http = "http://root:secret@127.0.0.1/"',
         "jail.web.health.page.http: 'http://root:secret@127.0.0.1/' is not a URL, as http://127.0.0.1:8080/"),
        (HEALTH + 'tcp = "127.0.0.1:80"\nsuccesses = 1000000000',
         "jail.web.health.page.successes: input should be less than or equal to 1000, not '1000000000'"),
        (HEALTH + 'tcp = "127.0.0.1:80"\nsuccesses = true',
         "jail.web.health.page.successes: input should be a valid integer, not true"),
        (HEALTH + 'tcp = "127.0.0.1:80"\nexpect_status = 99999',
         "jail.web.health.page.expect_status: input should be less than or equal to 599, not '99999'"),
        (HEALTH + 'tcp = "127.0.0.1:80"\nsuccesses = 0x1' + "0" * 5000,
         "jail.web.health.page.successes: input should be less than or equal to 1000, not a number of thousands of "
         "digits"),
        (JAIL + "budget_s = true", "jail.web.budget_s: input should be a valid number, not true"),
        (JAIL + 'budget_s = "900"', "jail.web.budget_s: input should be a valid number, not '900'"),
        (JAIL + "stop_timeout_s = 1e300", "jail.web.stop_timeout_s: input should be less than or equal to 604800, not "
         "'1e+300'"),
        ("[policy]\nplan_expires_h = 1" + "0" * 400, "policy.plan_expires_h: input should be a valid number, not "
         f"'1{'0' * 59}'"),
        ("[storage]\nsize = true", "storage.size: True is not a size: a number and one of K, M, G, T, as in 20G"),
        ("[storage]\nkeep_free = -1", "storage.keep_free: input should be greater than or equal to 0, not '-1'"),
        ('[storage]\nsize = "999999999T"',
         "storage.size: input should be less than or equal to 1152921504606846976, not '999999999T'"),
        ('[audit.sinks.log]\nsyslog = "udp://loghost:99999"',
         "audit.sinks.log.syslog: 'udp://loghost:99999' is not udp://HOST:PORT, tcp://HOST:PORT or unix:/PATH"),
    ],
)  # fmt: skip
def test_what_would_do_harm_later_is_named_at_once(fast_directory: Path, text: str, mistake: str) -> None:
    assert mistakes(fast_directory, text) == [mistake]


def test_a_number_that_python_does_not_read_is_no_bug(fast_directory: Path) -> None:
    path = fast_directory / "rootswap.toml"
    path.write_text(f"[policy]\nplan_expires_h = {'9' * 5000}\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="cannot read"):
        read(str(path))
