"""The story: from an empty directory to a jail that was upgraded, rolled back, broken, killed and recovered."""

import os
import signal
import subprocess
import time
from pathlib import Path

from ledger.events import StepSucceeded
from ledger.reader import LedgerReader
from tests.demo.stage import Stage, Surprise

_CONFIG = """\
state_directory = "{home}/state"

[storage]                       # an embedded pool: a sparse file that rootswap makes and mounts itself
path = "{home}/state/pool"
image = "{home}/pool.img"
size = "10G"

[template.debian]
bootstrap = "debian"
suite = "bookworm"
packages = ["nginx-light", "ca-certificates"]
sources = ["deb http://deb.debian.org/debian bookworm main"]

[jail.web]
template = "debian"
command = ["/usr/sbin/nginx", "-g", "daemon off;"]
stop_signal = "SIGQUIT"         # nginx finishes the requests that it has

[jail.web.volumes]
log = "/var/log/nginx"
lib = "/var/lib/nginx"

[jail.web.health.page]
http = "http://127.0.0.1:{port}/"
timeout_s = 5
"""

_SITE = """\
#!/bin/sh
# Runs inside the template: a site that shows which nginx package it is served by, now and after every upgrade.
set -eu
cat >/etc/nginx/sites-available/default <<'END'
server {{
    listen 127.0.0.1:{port};
    root /var/www/html;
    index index.html;
}}
END
cat >/usr/local/sbin/write-page <<'END'
#!/bin/sh
dpkg-query -W -f 'nginx ${{Version}}\\n' nginx >/var/www/html/index.html
END
chmod 755 /usr/local/sbin/write-page
echo 'DPkg::Post-Invoke {{ "/usr/local/sbin/write-page"; }};' >/etc/apt/apt.conf.d/90write-page
/usr/local/sbin/write-page
"""

_UPDATES = """\
[template.debian]
sources = [
    "deb http://deb.debian.org/debian bookworm main",
    "deb http://deb.debian.org/debian bookworm-updates main",
    "deb http://deb.debian.org/debian-security bookworm-security main",
]
"""

_BREAK = """\
#!/bin/sh
echo 'this is no directive of nginx;' >>/etc/nginx/nginx.conf
"""

_MEND = """\
#!/bin/sh
set -eu
sed -i '/this is no directive of nginx/d' /etc/nginx/nginx.conf
echo '(mended)' >>/var/www/html/index.html
"""


def tell(stage: Stage) -> None:
    """The whole story. Raises Surprise where it does not come true."""
    began = time.monotonic()
    set_up(stage)
    old = deploy(stage)
    new = upgrade(stage, old)
    go_back_and_forth(stage, old, new)
    change_runtime(stage, new)
    break_it(stage, new)
    kill_it(stage)
    look_back(stage)
    stage.chapter(f"All of it came true, in {time.monotonic() - began:.0f} s. `make clean-demo` removes it.")


def set_up(stage: Stage) -> None:
    """Configuration, ledger and pool."""
    stage.chapter("An empty machine: configuration, ledger, storage pool")
    stage.prepare()
    stage.write("etc/rootswap.toml", _CONFIG.format(home=stage.home, port=stage.port))
    stage.rootswap("config", "check")
    stage.rootswap("init", "--reason", "demo")
    stage.rootswap("init")
    stage.rootswap("doctor")


def deploy(stage: Stage) -> str:
    """A template from packages, a site in it, and a jail on it. Returns what the jail serves."""
    stage.chapter("A template built from Debian packages, and a jail on a release of it")
    stage.rootswap("template", "build", "debian")
    script = stage.write("site.sh", _SITE.format(port=stage.port), 0o755)
    stage.rootswap("template", "upgrade", "debian", "--script", str(script), "--reason", "our site")
    stage.rootswap("upgrade", "web", "--reason", "first deployment")
    page = stage.page()
    stage.expect(page is not None and page.startswith("nginx "), f"web serves {page}")
    stage.rootswap("upgrade", "web")
    return page or ""


def upgrade(stage: Stage, old: str) -> str:
    """Really newer packages, switched to under a client. Returns what the jail serves."""
    stage.chapter("Updates: the template is upgraded offline, then the jail is switched while a client keeps asking")
    stage.write("etc/conf.d/50-updates.toml", _UPDATES)
    stage.rootswap("template", "upgrade", "debian", "--reason", "security updates")
    stage.expect(stage.page() == old, f"web still serves {old}: nothing was touched yet")
    stage.rootswap("upgrade", "web", "-n", "--exit-code", expect=10)
    with stage.client() as seen:
        stage.rootswap("upgrade", "web", "--reason", "security updates", "--ticket", "OPS-7")
    new = stage.page() or ""
    stage.expect(_version(new) > _version(old), f"web serves {new}, which is newer than {old}")
    stage.expect(seen["pages"] == [old, new], f"the client saw the one and then the other, in {seen['good']} answers")
    recorded = stage.asked("tx", "list", "--limit", "1")[0]["downtime_ns"] / 1e6
    stage.say(f"downtime as the client saw it: {seen['longest_ms']:.0f} ms; as the ledger says: {recorded:.0f} ms")
    stage.expect(seen["longest_ms"] < 2000, "the client waited less than two seconds")
    return new


def go_back_and_forth(stage: Stage, old: str, new: str) -> None:
    """The same switch backwards, and forwards again."""
    stage.chapter("Second thoughts: a rollback is the same switch backwards")
    with stage.client() as seen:
        stage.rootswap("rollback", "web", "--reason", "second thoughts")
    stage.expect(stage.page() == old, f"web serves {old} again; the client waited {seen['longest_ms']:.0f} ms")
    stage.rootswap("upgrade", "web", "--reason", "third thoughts")
    stage.expect(stage.page() == new, f"web serves {new}")


def change_runtime(stage: Stage, new: str) -> None:
    """The same jail with the same nginx under each of the other runtimes, and under LXC again."""
    stage.chapter("Another runtime: the same jail under runc and under systemd-nspawn, and back")
    for driver in ("oci", "nspawn"):
        stage.write("etc/conf.d/60-runtime.toml", f'[jail.web]\ndriver = "{driver}"\n')
        stage.rootswap("upgrade", "web", "--reason", f"under {driver}")
        stage.expect(stage.page() == new, f"web serves {new} under {driver}")
        stage.expect(not stage.runs_under_lxc("web"), "lxc-info says that LXC does not run it")
    stage.say(f"$ rm {stage.home}/etc/conf.d/60-runtime.toml")
    Path(stage.home, "etc/conf.d/60-runtime.toml").unlink()
    stage.rootswap("upgrade", "web", "--reason", "under lxc again")
    stage.expect(stage.page() == new, f"web serves {new}")
    stage.expect(stage.runs_under_lxc("web"), "lxc-info says that LXC runs it")


def break_it(stage: Stage, new: str) -> None:
    """A release that cannot work, refused by its health check."""
    stage.chapter("A release that is broken on purpose: its health check fails, and it is taken back by itself")
    script = stage.write("break.sh", _BREAK, 0o755)
    stage.rootswap("template", "upgrade", "debian", "--script", str(script), "--reason", "a bad idea")
    stage.rootswap("upgrade", "web", "--reason", "the bad idea goes live", expect=1)
    stage.expect(stage.page_within(5) == new, f"web serves {new}, as before")


def kill_it(stage: Stage) -> None:
    """The engine dies between the stop and the start of the jail; recovery settles it."""
    stage.chapter("kill -9: the engine dies after it has stopped the jail")
    script = stage.write("mend.sh", _MEND, 0o755)
    stage.rootswap("template", "upgrade", "debian", "--script", str(script), "--reason", "mended")
    words = ["rootswap", "upgrade", "web", "--reason", "mended"]
    stage.say(f"$ {' '.join(words)} &")
    last = _last_seq(stage)
    with subprocess.Popen(words) as engine:
        _wait_for_stop(stage, last, engine)
        os.kill(engine.pid, signal.SIGKILL)
        stage.say(f"$ kill -9 {engine.pid}")
    stage.expect(engine.returncode == -signal.SIGKILL, "the engine was killed in the middle of the transaction")
    stage.expect(stage.page() is None, "web does not answer")
    stage.rootswap("status")
    stage.rootswap("recover")
    page = stage.page_within(5)
    stage.expect(page is not None and page.endswith("(mended)"), f"web serves {page}")
    stage.rootswap("recover")


def look_back(stage: Stage) -> None:
    """What the ledger remembers of all this."""
    stage.chapter("What is there, and what has happened")
    for words in (("status",), ("release", "list"), ("volume", "list"), ("tx", "list"), ("audit", "log"), ("doctor",)):
        stage.rootswap(*words)
    stage.expect(not stage.asked("tx", "list", "--open"), "no transaction is open")


def _version(page: str) -> tuple[tuple[int, str], ...]:
    """A Debian version as something that compares well enough for ``1.22.1-9+deb12u9`` and ``…u11``."""
    parts: list[tuple[int, str]] = []
    word = page.split()[1]
    number = ""
    for letter in [*word, ""]:
        if letter.isdigit():
            number += letter
            continue
        parts += [(int(number), "")] if number else []
        parts += [(-1, letter)]
        number = ""
    return tuple(parts)


def _last_seq(stage: Stage) -> int:
    with LedgerReader.open(Path(stage.state, "ledger")) as reader:
        return reader.last_seq()


def _wait_for_stop(stage: Stage, after: int, engine: "subprocess.Popen[bytes]") -> None:
    """Return as soon as the ledger says that the jail is stopped."""
    with LedgerReader.open(Path(stage.state, "ledger")) as reader:
        while engine.poll() is None:
            for record in reader.records(after=after):
                after = record.seq
                event = record.event
                if isinstance(event, StepSucceeded) and event.kind == "stop_jail":
                    return
            time.sleep(0.0005)
    raise Surprise("the engine was done before it could be killed")
