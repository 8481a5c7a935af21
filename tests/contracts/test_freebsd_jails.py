"""What only FreeBSD jails have: jail.conf, dying jails, commands that fail, mounts that are left, and other people."""

import pytest

from commands.drivers.base import JailState
from commands.drivers.jail import jails_own_words
from commands.drivers.jail_conf import SEPARATOR, parse_configured
from commands.drivers.jls import parse_jails
from commands.errors import DriverError, Foreign, ToolMissing, ToolTimedOut
from tests.fakes.host import Hang
from tests.fakes.jail_model import alive, drain, linger
from tests.fakes.jail_site import CONF, ONE, ROOT, TWO, JailSite, jail_site

VOLUMES = [f"{ROOT}/home", f"{ROOT}/var/log"]
#: A process that does not feel SIGTERM.
DEAF = """exec.start = "/bin/sh -c 'trap \\"\\" TERM; while :; do sleep 1; done > /dev/null 2>&1 &'";"""


@pytest.fixture
def site() -> JailSite:
    return jail_site()


def conf(site: JailSite, more: str, name: str = "web") -> None:
    """The same jail with other commands."""
    start = "" if "exec.start" in more else """exec.start = "/bin/sh -c 'sleep 9 &'";"""
    site.configure(f'path = "/rs/jails/$name/root"; mount.devfs; {name} {{ {start} {more} }}')


def hang(site: JailSite, *words: str) -> None:
    """The command that consists of these words does not answer, and has done nothing."""

    def strike(argv: tuple[str, ...]) -> None:
        if argv[-len(words) :] == words:
            raise Hang

    site.host.hooks.append(strike)


# --- start and stop ---------------------------------------------------------------------------------------------------


def test_volumes_are_mounted_before_the_jail_is_made_and_unmounted_after_it_is_gone(site: JailSite) -> None:
    site.jails.start(site.spec())
    assert site.mounted() == [ROOT, *VOLUMES, f"{ROOT}/dev"]
    site.jails.stop(site.spec())
    assert site.mounted() == [ROOT]
    names = [argv[0] if argv[0] != "/bin/sh" else "jail" for argv in site.host.ran]
    assert names.index("jail") > max(i for i, argv in enumerate(site.host.ran) if argv[:3] == ("mount", "-t", "nullfs"))


def test_the_administrators_file_is_never_written(site: JailSite) -> None:
    before = site.world.find("/etc/jail.conf")
    assert before is not None
    site.jails.preflight(site.spec())
    site.jails.start(site.spec())
    site.jails.stop(site.spec())
    after = site.world.find("/etc/jail.conf")
    assert after is before
    assert after.blob.content.decode() == CONF


def test_a_file_of_its_own_in_jail_conf_d_is_found_as_rc_finds_it(site: JailSite) -> None:
    site.configure("other { path = /; persist; }")
    site.world.make_directory("/etc/jail.conf.d")
    site.configure(CONF, "/etc/jail.conf.d/web.conf")
    site.jails.preflight(site.spec())
    site.jails.start(site.spec())
    assert site.jails.state(site.spec()) is JailState.RUNNING
    site.jails.stop(site.spec())
    assert ("jail", "-f", "/etc/jail.conf.d/web.conf", "-r", "web") in site.host.ran


def test_a_jail_without_processes_runs_if_it_is_persistent(site: JailSite) -> None:
    conf(site, "persist; exec.start = /usr/bin/true;")
    site.jails.start(site.spec())
    assert site.jails.runs_on(site.spec(), ONE)
    site.jails.stop(site.spec())
    assert site.jails.state(site.spec()) is JailState.STOPPED


def test_a_jail_that_is_gone_as_soon_as_it_was_started_did_not_start(site: JailSite) -> None:
    conf(site, "exec.start = /usr/bin/true;")
    with pytest.raises(DriverError, match=r"cannot start jail web: jail.8. ended with status 0, and the jail is not"):
        site.jails.start(site.spec())
    assert site.mounted() == [ROOT]


def test_a_failing_start_is_told_in_jails_own_words_and_leaves_nothing(site: JailSite) -> None:
    conf(site, "exec.start = /usr/bin/false;")
    with pytest.raises(DriverError, match=r"^cannot start jail web: /usr/bin/false: failed$") as caught:
        site.jails.start(site.spec())
    assert caught.value.remedy == "see /var/db/rootswap/jail/web.log and /etc/jail.conf"
    assert site.jails.state(site.spec()) is JailState.STOPPED
    assert site.mounted() == [ROOT]


def test_what_jail_and_the_start_print_is_kept_and_only_the_last_start_is_quoted(site: JailSite) -> None:
    conf(site, """exec.start = "/bin/sh -c 'sleep 9 & echo started'"; """)
    site.jails.start(site.spec())
    site.jails.stop(site.spec())
    log = "/var/db/rootswap/jail/web.log"
    assert site.host.read(log) == b"web: created\nstarted\n"
    conf(site, "exec.start = /usr/bin/false;")
    with pytest.raises(DriverError, match="/usr/bin/false: failed"):
        site.jails.start(site.spec())
    conf(site, "exec.start = /usr/bin/true;")
    with pytest.raises(DriverError, match="ended with status 0"):
        site.jails.start(site.spec())
    assert site.host.read(log).endswith(b"jail: web: /usr/bin/false: failed\nweb: created\n")


def test_a_start_that_times_out_by_jail_conf_leaves_nothing(site: JailSite) -> None:
    conf(site, 'exec.start = "sleep 30"; exec.timeout = 2;')
    with pytest.raises(DriverError, match=r"^cannot start jail web: sleep 30: timed out$"):
        site.jails.start(site.spec())
    assert site.mounted() == [ROOT]


def test_a_start_that_never_ends_is_told_and_can_be_stopped(site: JailSite) -> None:
    conf(site, 'exec.start = "sleep 100000";')
    with pytest.raises(ToolTimedOut, match=r"cannot start jail web: its exec.start is not done after 30 s"):
        site.jails.start(site.spec())
    assert site.jails.state(site.spec()) is JailState.RUNNING
    site.jails.stop(site.spec())
    assert site.jails.state(site.spec()) is JailState.STOPPED


def test_a_failing_exec_stop_is_an_error_and_kills_nobody(site: JailSite) -> None:
    conf(site, "exec.stop = /usr/bin/false;")
    site.jails.start(site.spec())
    before = list(site.mounted())
    with pytest.raises(
        DriverError, match=r"^cannot stop jail web: /usr/bin/false: failed; it runs on, perhaps without"
    ) as caught:
        site.jails.stop(site.spec())
    assert "exec.stop" in caught.value.remedy
    assert site.jails.runs_on(site.spec(), ONE)
    assert site.mounted() == before


def test_an_exec_stop_that_never_ends_is_ended_by_force_and_what_jail_mounts_is_unmounted(site: JailSite) -> None:
    conf(site, 'exec.stop = "sleep 100000";')
    site.jails.start(site.spec())
    site.jails.stop(site.spec())
    assert ("jail", "-f", "/etc/jail.conf", "-R", "web") in site.host.ran
    assert site.jails.state(site.spec()) is JailState.STOPPED
    assert site.mounted() == [ROOT]


def test_a_jail_that_even_force_does_not_remove_is_an_error(site: JailSite) -> None:
    site.jails.start(site.spec())
    hang(site, "-r", "web")
    hang(site, "-R", "web")
    with pytest.raises(DriverError, match=r"cannot stop jail web: jail.8. has left it there"):
        site.jails.stop(site.spec())
    assert site.jails.state(site.spec()) is JailState.RUNNING


def test_a_stop_whose_answer_is_lost_has_stopped(site: JailSite) -> None:
    site.jails.start(site.spec())

    def lose(argv: tuple[str, ...]) -> None:
        if argv[-2:] == ("-r", "web"):
            raise Hang

    site.host.late.append(lose)
    site.jails.stop(site.spec())
    assert site.jails.state(site.spec()) is JailState.STOPPED
    assert site.mounted() == [ROOT]


def test_a_process_that_ignores_sigterm_costs_exactly_the_stop_timeout(site: JailSite) -> None:
    conf(site, f"{DEAF} stop.timeout = 2;")
    site.jails.start(site.spec())
    before = site.world.state.now
    site.jails.stop(site.spec())
    assert site.world.state.now - before == 2
    assert site.jails.state(site.spec()) is JailState.STOPPED


# --- dying ------------------------------------------------------------------------------------------------------------


def test_a_dying_jail_has_stopped_and_another_of_its_name_can_be_started(site: JailSite) -> None:
    linger(site.world, "web")
    site.jails.start(site.spec())
    site.jails.stop(site.spec())
    assert '"dying":true' in site.sh("jls -d --libxo json -n name dying")
    assert site.jails.state(site.spec()) is JailState.STOPPED
    assert not site.jails.runs_on(site.spec(), ONE)
    site.jails.start(site.spec())
    assert site.jails.runs_on(site.spec(), ONE)


def test_where_a_dying_jail_is_in_the_way_its_end_is_waited_for(site: JailSite) -> None:
    linger(site.world, "web")
    site.jails.start(site.spec())
    site.jails.stop(site.spec())
    site.world.state.more["the dying refuse"] = True
    with pytest.raises(DriverError, match=r'cannot start jail web: "web" is dying'):
        site.jails.start(site.spec())
    looks = 0

    def drain_at_last(argv: tuple[str, ...]) -> None:
        nonlocal looks
        looks += argv[0] == "jls"
        if looks > 20:
            drain(site.world)

    site.host.hooks.append(drain_at_last)
    site.jails.start(site.spec())
    assert site.jails.runs_on(site.spec(), ONE)


def test_a_start_that_fails_by_itself_does_not_wait_for_the_dying(site: JailSite) -> None:
    linger(site.world, "web")
    site.jails.start(site.spec())
    site.jails.stop(site.spec())
    conf(site, "exec.start = /usr/bin/false;")
    site.host.ran.clear()
    with pytest.raises(DriverError, match="/usr/bin/false: failed"):
        site.jails.start(site.spec())
    assert sum(argv[0] == "/bin/sh" for argv in site.host.ran) == 1


def test_the_root_of_a_dying_jail_is_unmounted_by_force_and_that_of_a_living_one_never(site: JailSite) -> None:
    linger(site.world, "web")
    site.jails.start(site.spec())
    site.jails.stop(site.spec())
    site.mounts.unmount(ROOT)
    assert site.mounts.layers(ROOT) == 0
    assert ("umount", "-f", ROOT) in site.host.ran
    site.mounts.mount(ONE, ROOT)
    site.jails.start(site.spec())
    site.host.ran.clear()
    with pytest.raises(DriverError, match=rf"cannot unmount {ROOT}: .*Device busy"):
        site.mounts.unmount(ROOT)
    assert not any("-f" in argv for argv in site.host.ran if argv[0] == "umount")
    assert site.jails.runs_on(site.spec(), ONE)


def test_nothing_goes_by_force_while_a_volume_is_mounted_in_the_root_of_a_dying_jail(site: JailSite) -> None:
    linger(site.world, "web")
    site.jails.start(site.spec())
    site.sh("jail -R web")
    with pytest.raises(DriverError, match=r"Device busy"):
        site.mounts.unmount(ROOT)
    assert site.jails.state(site.spec()) is JailState.STOPPING
    site.jails.stop(site.spec())
    site.mounts.unmount(ROOT)
    assert site.mounted() == []


# --- what is left in the root -----------------------------------------------------------------------------------------


def test_volumes_of_a_start_that_was_cut_off_make_the_jail_half_stopped_until_it_is_stopped(site: JailSite) -> None:
    site.sh(f"mount -t nullfs /rs/volumes/web/home {ROOT}/home")
    assert site.jails.state(site.spec()) is JailState.STOPPING
    site.jails.stop(site.spec())
    assert site.jails.state(site.spec()) is JailState.STOPPED
    assert site.mounted() == [ROOT]


def test_what_a_forced_unmount_of_the_root_leaves_is_found_and_unmounted(site: JailSite) -> None:
    site.jails.start(site.spec())
    site.sh(f"umount -f {ROOT}")
    assert site.mounted() == [*VOLUMES, f"{ROOT}/dev"]
    assert site.jails.state(site.spec()) is JailState.STOPPING
    site.jails.stop(site.spec())
    assert site.mounted() == []
    assert site.jails.state(site.spec()) is JailState.STOPPED


def test_orphans_of_the_former_root_are_unmounted_before_the_next_start(site: JailSite) -> None:
    site.jails.start(site.spec())
    site.sh(f"umount -f {ROOT}")
    site.mounts.mount(TWO, ROOT)
    site.jails.start(site.spec())
    assert site.jails.runs_on(site.spec(), TWO)
    assert site.mounted() == [ROOT, *VOLUMES, f"{ROOT}/dev"]


def test_a_mount_in_the_root_that_is_not_ours_is_told_and_stays(site: JailSite) -> None:
    site.jails.start(site.spec())
    site.sh("jail -R web")
    site.sh(f"mount -t tmpfs tmpfs {ROOT}/etc")
    with pytest.raises(Foreign, match=rf"tmpfs is mounted at {ROOT}/etc, not by us") as caught:
        site.jails.stop(site.spec())
    assert caught.value.remedy == f"unmount it with `umount {ROOT}/etc`"
    assert f"{ROOT}/etc" in site.mounted()


@pytest.mark.parametrize("by", ["mount", "mount.fstab"])
def test_what_jail_conf_mounts_goes_after_a_removal_by_force_too(site: JailSite, by: str) -> None:
    line = f"tmpfs {ROOT}/etc tmpfs rw,mode=1777 0 0"
    conf(site, f'mount = "{line}"; stop.timeout = 3;')
    site.jails.start(site.spec())
    assert f"{ROOT}/etc" in site.mounted()
    site.jails.stop(site.spec())
    assert site.mounted() == [ROOT]
    site.jails.start(site.spec())
    hang(site, "-r", "web")
    if by == "mount.fstab":
        site.world.write("/etc/fstab.web", f"# of the jail\n{line}\n".encode())
        conf(site, "mount.fstab = /etc/fstab.web;")
    site.jails.stop(site.spec())
    assert site.mounted() == [ROOT]
    assert site.jails.state(site.spec()) is JailState.STOPPED


def test_a_volume_that_stays_in_use_is_told(site: JailSite) -> None:
    site.jails.start(site.spec())
    site.sh("jail -R web; mkdir -p /rs/elsewhere")
    site.sh(f"mount -t nullfs {ROOT}/home /rs/elsewhere")
    with pytest.raises(DriverError, match=rf"cannot stop jail web: {ROOT}/home stays in use"):
        site.jails.stop(site.spec())


# --- other people -----------------------------------------------------------------------------------------------------


def test_a_jail_started_by_hand_has_no_volumes_so_it_is_half_started_and_is_started_anew(site: JailSite) -> None:
    site.sh("jail -c web")
    assert site.jails.state(site.spec()) is JailState.STARTING
    assert not site.jails.runs_on(site.spec(), ONE)
    site.jails.start(site.spec())
    assert site.jails.runs_on(site.spec(), ONE)
    assert alive(site.world, "1") is None


def test_a_jail_stopped_by_hand_keeps_its_volumes_mounted_so_it_is_half_stopped(site: JailSite) -> None:
    site.jails.start(site.spec())
    site.sh("jail -r web")
    assert site.jails.state(site.spec()) is JailState.STOPPING
    site.jails.start(site.spec())
    assert site.jails.runs_on(site.spec(), ONE)
    site.sh("jail -r web; jail -c web")
    assert site.jails.runs_on(site.spec(), ONE)


def test_a_jail_started_by_hand_can_be_stopped(site: JailSite) -> None:
    site.sh("jail -c web")
    site.jails.stop(site.spec())
    assert site.jails.state(site.spec()) is JailState.STOPPED
    assert site.mounted() == [ROOT]


def test_a_jail_of_the_same_name_on_another_path_is_found(site: JailSite) -> None:
    site.sh("mkdir -p /rs/elsewhere; jail -c name=web path=/rs/elsewhere persist")
    assert site.jails.state(site.spec()) is JailState.RUNNING
    assert not site.jails.runs_on(site.spec(), ONE)
    with pytest.raises(Foreign, match=r"runs on /rs/elsewhere"):
        site.jails.start(site.spec())


def test_another_jail_on_our_root_is_found_and_nothing_is_unmounted_under_it(site: JailSite) -> None:
    site.jails.start(site.spec())
    site.sh(f"jail -R web; jail -c name=guest path={ROOT} persist")
    for act in (site.jails.start, site.jails.stop, site.jails.preflight):
        with pytest.raises(Foreign, match=rf"cannot run jail web: jail guest runs on {ROOT}"):
            act(site.spec())
    assert set(VOLUMES) <= set(site.mounted())
    assert alive(site.world, "guest") is not None


def test_a_jail_whose_root_has_another_mount_over_it_runs_on_nothing_that_we_know(site: JailSite) -> None:
    site.jails.start(site.spec())
    site.sh(f"mount -t tmpfs tmpfs {ROOT}")
    assert site.jails.state(site.spec()) is JailState.RUNNING
    assert not site.jails.runs_on(site.spec(), ONE)


def test_a_jail_is_not_started_on_a_root_with_another_mount_over_it(site: JailSite) -> None:
    site.sh(f"mount -t tmpfs tmpfs {ROOT}")
    with pytest.raises(DriverError, match=f"cannot start jail web: 2 mounts are stacked at {ROOT}"):
        site.jails.start(site.spec())


# --- preflight --------------------------------------------------------------------------------------------------------


def test_a_jail_that_jail_conf_does_not_know_is_refused_and_does_not_start(site: JailSite) -> None:
    site.configure("mail { path = /rs/mail; persist; }")
    with pytest.raises(DriverError, match=r"/etc/jail.conf does not define it .defined: mail.") as caught:
        site.jails.preflight(site.spec())
    assert caught.value.remedy == f"add it there, with path = {ROOT}"
    with pytest.raises(DriverError, match=r'cannot start jail web: "web" not found'):
        site.jails.start(site.spec())
    assert site.mounted() == [ROOT]


def test_without_any_jail_conf_it_is_refused(site: JailSite) -> None:
    site.sh("rm /etc/jail.conf")
    for act in (site.jails.preflight, site.jails.start):
        with pytest.raises(DriverError, match=r"there is no /etc/jail.conf or /etc/jail.conf.d/web.conf"):
            act(site.spec())


def test_a_path_that_is_not_our_root_is_refused(site: JailSite) -> None:
    site.configure("web { path = /usr/jails/web; persist; }")
    with pytest.raises(DriverError, match=r"/etc/jail.conf has its path at /usr/jails/web") as caught:
        site.jails.preflight(site.spec())
    assert caught.value.remedy == f"say path = {ROOT} there"


def test_a_jail_that_another_depends_on_is_refused_for_that_one_would_stay_down(site: JailSite) -> None:
    site.configure(CONF + 'app { depend = web; exec.start = "/bin/true"; persist; }')
    with pytest.raises(DriverError, match=r"app depends on it, would be stopped with it and not be started again"):
        site.jails.preflight(site.spec())


def test_a_jail_that_depends_on_others_starts_them_first(site: JailSite) -> None:
    conf(site, "depend = db; } db { path = /; persist;")
    site.jails.preflight(site.spec())
    site.jails.start(site.spec())
    assert alive(site.world, "db") is not None
    site.jails.stop(site.spec())
    assert alive(site.world, "db") is not None


def test_a_jail_conf_that_is_not_in_order_is_told(site: JailSite) -> None:
    site.configure("web { path = /rs")
    with pytest.raises(DriverError, match=r"cannot read /etc/jail.conf: .*syntax error") as caught:
        site.jails.preflight(site.spec())
    assert "jail.conf(5)" in caught.value.remedy


@pytest.mark.parametrize("name", ["7", "web.child"])
def test_a_name_that_means_something_else_to_jail_is_refused(site: JailSite, name: str) -> None:
    with pytest.raises(DriverError, match=r"its name means something else to jail"):
        site.jails.preflight(site.spec(name=name))


@pytest.mark.parametrize("path", ["/", "/dev/x", "/proc", "/../etc"])
def test_a_volume_where_there_is_no_place_for_one_is_refused(site: JailSite, path: str) -> None:
    volume = site.spec().volumes[0].model_copy(update={"path": path})
    with pytest.raises(DriverError, match=r"no place for one"):
        site.jails.preflight(site.spec(volumes=(volume,)))


def test_a_volume_is_not_mounted_through_a_symlink_of_the_root(site: JailSite) -> None:
    from tests.fakes.tree import Node

    site.world.make_directory("/rs/secret")
    snapshot = site.world.state.pools["tank"].datasets["tank/web"].snapshots["one"]
    snapshot.tree.children["home"] = Node(kind="link", target="/rs/secret")
    site.sh(f"umount {ROOT}; mount -t zfs -o ro tank/web@one {ROOT}")
    with pytest.raises(DriverError, match=r"home is a symbolic link"):
        site.jails.start(site.spec())
    assert not site.world.mounts_at("/rs/secret")


def test_a_missing_tool_is_told(site: JailSite) -> None:
    site.world.state.missing.add("jls")
    with pytest.raises(ToolMissing, match=r"jls is not installed"):
        site.jails.state(site.spec())


# --- pure -------------------------------------------------------------------------------------------------------------


def test_jls_that_answers_nonsense_is_an_error_and_not_a_stopped_jail() -> None:
    for nonsense in ("", "{}", '{"jail-information": {"jail": [{"jid": "1"}]}}', "usage: jls"):
        with pytest.raises(DriverError, match=r"cannot ask for the jails"):
            parse_jails(nonsense)


def test_what_is_not_understood_of_the_configured_jails_is_not_concluded_from() -> None:
    assert parse_configured(f'name=web{SEPARATOR}path="/a b"{SEPARATOR}persist\n') == {
        "web": {"name": "web", "path": "/a b", "persist": ""}
    }
    assert parse_configured("") == {}
    assert parse_configured("something else\n") is None


def test_the_last_complaint_of_jail_is_the_cause() -> None:
    printed = "web: created\nmount_nullfs: /x: Resource deadlock avoided\njail: web: /bin/sh /etc/rc: failed\n"
    assert jails_own_words(printed, "web") == "/bin/sh /etc/rc: failed"
    assert jails_own_words("web: created\n", "web") == ""
