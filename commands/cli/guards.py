"""What ``doctor`` says of the policy and the secrets: whether they can do what they promise."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from commands.cli.checkup import Finding
    from commands.config import Config
    from commands.drivers.door import Host
    from ledger.authority import Person


def policy_findings(config: "Config") -> "Iterator[Finding]":
    """Findings only where an approval is asked for."""
    from commands.drivers.identity import identify

    asking = [config.policy.require_approval, *(jail.policy.require_approval for jail in config.jail.values())]
    if any(asking):
        yield identity_finding(identify())


def identity_finding(person: "Person") -> "Finding":
    """Whether a gate between two persons has anything to hold on to."""
    from commands.cli.checkup import Finding

    if person.uid == 0:
        remedy = "log in as yourself and use sudo: nobody can approve anything as root"
        return Finding("approvals", "warning", "you are only root, and anybody may be behind root", remedy)
    if person.source in ("process", "uid"):
        detail = f"you are {person.login} by your processes alone: the kernel keeps no audit identity of your login"
        return Finding("approvals", "warning", detail, "let logins set one: pam_loginuid(8)")
    return Finding("approvals", "ok", f"you are {person.login}, as the kernel remembers your login")


def secret_findings(config: "Config", host: "Host") -> "Iterator[Finding]":
    """Whether the files with secrets can be used."""
    from commands.cli.checkup import Finding
    from commands.drivers.secret_files import Secrets
    from commands.drivers.secret_jails import roots_own
    from commands.errors import DriverError

    for name, jail in config.jail.items():
        if jail.environment_file is None:
            continue
        try:
            Secrets(roots_own(host)).reference(jail.environment_file)
        except DriverError as error:
            yield Finding(f"secrets of {name}", "bad", error.message, error.remedy)
        else:
            yield Finding(f"secrets of {name}", "ok", jail.environment_file)
