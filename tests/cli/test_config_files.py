"""Configuration files: found, merged, and every mistake named with its file, its key and what is wrong."""

import os
from pathlib import Path

import pytest

from commands.config import Config, load, read
from commands.errors import ConfigError
from tests.cli.bench import CONFIG, Bench


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
    return str(path)


def mistakes(directory: Path, text: str) -> list[str]:
    """What is wrong with a file, without its name."""
    file = write(directory / "rootswap.toml", text)
    return [f"{found.key}: {found.text}" for found in read(file).mistakes]


def test_fragments_are_merged_key_by_key_in_the_order_of_their_names(fast_directory: Path) -> None:
    main = write(fast_directory / "rootswap.toml", CONFIG.format(state="/srv/rootswap"))
    last = write(fast_directory / "conf.d" / "90-last.toml", '[template.debian]\nsuite = "trixie"\n')
    first = write(
        fast_directory / "conf.d" / "10-first.toml", '[template.debian]\nsuite = "sid"\nsources = ["deb x y"]\n'
    )
    write(fast_directory / "conf.d" / "README", "not TOML")
    loaded = load(str(fast_directory))
    assert loaded.files == (main, first, last)
    assert loaded.config.template["debian"].suite == "trixie"
    assert loaded.config.template["debian"].sources == ("deb x y",)
    assert loaded.origin["template", "debian", "suite"] == last
    assert loaded.origin["template", "debian", "sources"] == first
    assert loaded.origin["template", "debian", "bootstrap"] == main


@pytest.mark.parametrize(
    ("text", "line", "cause"),
    [
        ('a = 1\nb = "x\nc = 2\n', 2, "illegal character"),
        ("a = 1\na = 2\n", 2, "cannot overwrite"),
        ("\n\n[jail.web\n", 3, "expected"),
        ("a = 1\nb =", 2, "invalid value"),
        ("a = 1\nb = [1,", 2, ""),
    ],
)
def test_malformed_toml_is_named_with_file_and_line(fast_directory: Path, text: str, line: int, cause: str) -> None:
    file = write(fast_directory / "rootswap.toml", text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.message.startswith(f"cannot read {file}: line {line}: {cause}")
    assert caught.value.exit_code == 78


def test_a_file_that_is_not_utf_8_is_named_with_its_line(fast_directory: Path) -> None:
    file = fast_directory / "rootswap.toml"
    file.write_bytes(b"a = 1\nb = '\xff'\n")
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        load(str(file))


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("stat_directory = '/x'", "stat_directory: unknown key; did you mean state_directory?"),
        ("[template.t]\nbootstrap='tar'\nfile='/x'\n[jail.web]\ntemplate='t'\ncommand=['/x']\nhelth=1",
         "jail.web.helth: unknown key; did you mean health?"),
        ("[storage]\nzzz = 1", "storage.zzz: unknown key; known here: dataset, driver, file_system, image, keep_free, "
         "path, root_size, size, thin_pool, volume_size"),
        ("[storage]\nsize = '12 apples'", "storage.size: '12 apples' is not a size: a number and one of K, M, G, T, "
         "as in 20G"),
        ("[storage]\npath = 'pool'", "storage.path: 'pool' is not an absolute path without '..'"),
        ("[jail.web]\ncommand = ['/x']", "jail.web.template: it is missing"),
        ("[jail.'a/b']\ntemplate='t'\ncommand=['/x']", 'jail."a/b": \'a/b\' is not a usable name: 1 to 32 of a-z 0-9 '
         ". _ -, starting with a letter or digit"),
        ("jail = 3", "jail: input should be a valid dictionary, not '3'"),
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_is_named_with_what_is_wrong(fast_directory: Path, text: str, mistake: str) -> None:
    assert mistakes(fast_directory, text) == [mistake]


TEMPLATE = '[template.t]\nbootstrap = "debian"\nsuite = "bookworm"\n'
JAIL = TEMPLATE + '[jail.web]\ntemplate = "t"\ncommand = ["/x"]\n'
LVM = '[storage]\ndriver = "lvm"\n'
HEALTH = JAIL + "[jail.web.health.page]\n"
VOLUMES = JAIL + "[jail.web.volumes]\n"
ZFS = '[storage]\ndriver = "zfs"\n'


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ('[template.t]\nbootstrap = "debian"', 'template.t.suite: it is missing; bootstrap = "debian" needs one'),
        ('[template.t]\nbootstrap = "tar"', 'template.t.file: it is missing; bootstrap = "tar" needs one'),
        (TEMPLATE + 'upgrade = "script"', "template.t.upgrade_script: it is missing"),
        (JAIL.replace('= "t"', '= "tt"'), "jail.web.template: there is no template tt; did you mean t?"),
        (JAIL.replace('["/x"]', '["x"]'), "jail.web.command: 'x' is not an absolute path inside the jail"),
        (JAIL.replace('["/x"]', "[]"), "jail.web.command: it is empty"),
        (JAIL + 'driver = "docker"', "jail.web.driver: input should be 'lxc', 'oci', 'nspawn' or 'jail', not 'docker'"),
        (JAIL + 'runtime = "crun"', 'jail.web.runtime: it needs driver = "oci"'),
        (
            JAIL + 'driver = "oci"\nruntime = "../crun"',
            "jail.web.runtime: '../crun' is not the name of a program, as crun",
        ),
        (JAIL + 'driver = "oci"\nruntime = "/opt/../crun"', "jail.web.runtime: '/opt/../crun' is not the name of"),
        (JAIL + 'driver = "oci"\nruntime = "--version"', "jail.web.runtime: '--version' is not the name of a program"),
        (JAIL + 'stop_signal = "SIGRTMIN+99"', "jail.web.stop_signal: 'SIGRTMIN+99' is not a signal; name one as"),
        (
            JAIL + 'network = { kind = "veth", address = "10.0.0.1/99" }',
            "jail.web.network.address: '10.0.0.1/99' is not an",
        ),
        (
            JAIL + 'network = { kind = "veth", address = "10.0.0.1/9", gateway = "foo" }',
            "jail.web.network.gateway: 'foo' is not an address, as 192.0.2.1",
        ),
        (JAIL + 'stop_signal = "SIGNONE"', "jail.web.stop_signal: 'SIGNONE' is not a signal; name one as SIGTERM"),
        (HEALTH, "jail.web.health.page: it needs exactly one of http, tcp and command, and has none"),
        (HEALTH + 'http = "http://x/"\ntcp = "x:1"', "jail.web.health.page: it needs exactly one of http, tcp and"),
        (HEALTH + 'http = "x"', "jail.web.health.page.http: 'x' is not a URL, as http://127.0.0.1:8080/"),
        (HEALTH + 'tcp = "x:99999"', "jail.web.health.page.tcp: 'x:99999' is not ADDRESS:PORT"),
        (VOLUMES + 'a = "/"', "jail.web.volumes.a: it is the root of the jail"),
        (VOLUMES + 'a = "/var"\nb = "/var/"', "jail.web.volumes.b: /var is already the place of volume a"),
        (VOLUMES + 'a = "/var"\nb = "/var/log"', "jail.web.volumes.b: /var/log and /var of volume a lie in each other"),
        (JAIL + '[jail.web.network]\naddress = "10.0.0.2/24"', 'jail.web.network.address: it needs kind = "veth"'),
        ('[storage]\ndriver = "directory"\nimage = "/i"', 'storage.image: it needs driver = "btrfs"'),
        ('[storage]\nthin_pool = "v/p"', 'storage.thin_pool: it needs driver = "lvm"'),
        ('[storage]\ndriver = "lvm"', 'storage.thin_pool: it is missing; driver = "lvm" needs one, as "vg0/thin"'),
        (LVM + 'thin_pool = "/dev/v/p"', "storage.thin_pool: '/dev/v/p' is not GROUP/POOL, the names of a volume"),
        (LVM + 'thin_pool = "-v/p"', "storage.thin_pool: '-v/p' is not GROUP/POOL"),
        (LVM + 'thin_pool = "v/p"\nroot_size = "1M"', "storage.root_size: it is less than the 64 MiB that ext4 needs"),
        (
            LVM + 'thin_pool = "v/p"\nfile_system = "xfs"\nvolume_size = "299M"',
            "storage.volume_size: it is less than the 300 MiB that xfs needs",
        ),
        (
            JAIL + 'quotas = { log = "1G" }\nvolumes = { log = "/l" }',
            'jail.web.quotas.log: it needs driver = "zfs" or "lvm"',
        ),
        (
            LVM + 'thin_pool = "v/p"\n' + JAIL + 'quotas = { log = "1M" }\nvolumes = { log = "/l" }',
            "jail.web.quotas.log: it is less than the 64 MiB that ext4 needs",
        ),
        ('state_directory = "/p/x"\n[storage]\npath = "/p"', "state_directory: it is inside the pool /p"),
        ('state_directory = "/s"\n[storage]\npath = "/s/ledger/pool"', "storage.path: it is inside /s/ledger"),
        ('[storage]\npath = "/p"\nimage = "/p/pool.img"', "storage.image: it is inside the pool /p"),
        ('[storage]\ndataset = "tank/x"', 'storage.dataset: it needs driver = "zfs"'),
        (ZFS, 'storage.dataset: it is missing; driver = "zfs" needs one, as "tank/rootswap"'),
        (ZFS + 'dataset = "tank"', "storage.dataset: 'tank' is not a data set in a zpool"),
        (ZFS + 'dataset = "-r/x"', "storage.dataset: '-r/x' is not a data set in a zpool"),
        (ZFS + 'dataset = "tank/a@b"', "storage.dataset: 'tank/a@b' is not a data set in a zpool"),
        (ZFS + 'dataset = "tank/x"\nimage = "/i"', 'storage.image: it needs driver = "btrfs"; rootswap makes no zpool'),
        (JAIL + '[jail.web.quotas]\na = "1G"', "jail.web.quotas.a: there is no volume a"),
        (VOLUMES + 'a = "/var"\n[jail.web.quotas]\na = "1G"', 'jail.web.quotas.a: it needs driver = "zfs"'),
    ],
)
def test_what_does_not_go_together_is_named(fast_directory: Path, text: str, mistake: str) -> None:
    found = mistakes(fast_directory, text)
    assert (len(found), found[0][: len(mistake)]) == (1, mistake)


def test_all_mistakes_are_found_at_once_and_each_names_its_file(bench: Bench) -> None:
    bench.configure(JAIL.replace('"/x"', '"x"') + 'stop_signal = "SIGNONE"')
    printed = bench.run("config", "check", "--json")
    assert printed.code == 78
    assert [(one["file"], one["key"]) for one in printed.data["mistakes"]] == [
        (str(bench.config), "jail.web.command"),
        (str(bench.config), "jail.web.stop_signal"),
    ]
    printed = bench.run("upgrade", "web")
    assert printed.code == 78
    assert f"{bench.config}: jail.web.command: 'x' is not an absolute path" in printed.err
    assert "(and 1 more)" in printed.err


def test_the_configuration_is_shown_as_toml_that_means_the_same(bench: Bench) -> None:
    shown = bench.run("config", "show")
    before = load(str(bench.config)).config
    bench.configure(shown.out)
    assert load(str(bench.config)).config == before
    bench.configure(CONFIG.format(state="/srv/rootswap"))
    with_origin = bench.run("config", "show", "--origin").out
    assert f'suite = "bookworm"  # {bench.config}' in with_origin
    assert 'driver = "btrfs"  # default' in with_origin
    assert bench.run("config", "show", "-o", "csv", "--origin").out.startswith("key,value,origin\n")


def test_a_missing_file_is_named(fast_directory: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or directory"):
        load(str(fast_directory / "none.toml"))
    with pytest.raises(ConfigError, match=r"there is no rootswap\.toml"):
        load(str(fast_directory))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to distrust")
def test_root_obeys_no_file_that_others_can_change(fast_directory: Path) -> None:
    file = fast_directory / "etc" / "rootswap.toml"
    write(file, "")
    load(str(file))
    file.chmod(0o664)
    with pytest.raises(ConfigError, match="others than root can change"):
        load(str(file))
    file.chmod(0o644)
    file.parent.chmod(0o777)
    with pytest.raises(ConfigError, match=f"others than root can change {file.parent}"):
        load(str(file))


@pytest.mark.parametrize("spelt", ["/srv/rootswap/", "//srv//rootswap", "/srv/./rootswap"])
def test_a_place_has_one_spelling(spelt: str) -> None:
    assert Config(state_directory=spelt).state_directory == "/srv/rootswap"


def test_wrong_shapes_do_not_hide_other_mistakes_and_make_none_up(fast_directory: Path) -> None:
    text = """
        [storage]
        path = "/pool"
        size = "many"
        [template.good]
        bootstrap = "tar"
        [template.bad]
        bootstrap = "tarball"
        [jail.one]
        template = "bad"
        command = ["bin/sh"]
        comand = 1
        [jail.one.network]
        kind = "veth"
        address = 7
        gateway = "10.0.0.1"
        [jail.two]
        template = "none"
        driver = "ocii"
        runtime = "crun"
        command = ["/bin/sh"]
        [jail.three]
        template = "good"
        command = ["/bin/sh", 3]
        [jail.four]
        template = "nowhere"
        command = ["/bin/sh"]
        quotas = { log = "1G" }
        volumes = { log = "/var/log" }
    """
    found = mistakes(fast_directory, text)
    keys = sorted(one.partition(": ")[0] for one in found)
    assert keys == [
        "jail.four.template",
        "jail.one.comand",
        "jail.one.command",
        "jail.one.network.address",
        "jail.three.command.1",
        "jail.two.driver",
        "storage.size",
        "template.bad.bootstrap",
        "template.good.file",
    ]


@pytest.mark.parametrize(
    "text", ["jail = 3\n", "template = []\n[jail.web]\ntemplate = 1\n", "[jail]\nweb = 1\n[policy]\n"]
)
def test_a_table_that_is_none_is_told_and_survived(fast_directory: Path, text: str) -> None:
    assert mistakes(fast_directory, text)
