"""Mistakes in the policy are told with the key, and what to write instead."""

import pytest

from commands.config import Config
from commands.config.checks import mistakes_in
from commands.policy.rules import rules_for
from tests.policy.conftest import Office


def mistakes(office: Office, policy: str) -> str:
    office.configure(policy)
    printed = office.bench.run("config", "check")
    assert printed.code == 78
    return " ".join(printed.out.split())


@pytest.mark.parametrize(
    ("policy", "key", "words"),
    [
        ('[policy]\ntime_zone = "Europe/Amsterdm"', "policy.time_zone", "did you mean Europe/Amsterdam?"),
        ('[policy]\ntime_zone = "../../etc/passwd"', "policy.time_zone", "there is no time zone"),
        ('[policy]\ntime_zone = ""', "policy.time_zone", "there is no time zone"),
        ("[policy]\nrequire_aproval = true", "policy.require_aproval", "did you mean require_approval?"),
        ("[policy]\nplan_expires_h = 0", "policy.plan_expires_h", "greater than 0"),
        ("[policy]\nsettle_within_h = inf", "policy.settle_within_h", "finite"),
        ('[policy.windows.n]\nopens = "25:00"\ncloses = "1:00"', "policy.windows.n.opens", "not a time of day"),
        ('[policy.windows.n]\nopens = "22:00"', "policy.windows.n.closes", "it is missing"),
        ('[policy.windows.n]\nopens = "24:00"\ncloses = "01:00"', "policy.windows.n.opens", "can only be an end"),
        ('[policy.windows.n]\nopens = "22:00"\ncloses = "23:00"\ndays = []', "policy.windows.n.days", "it is empty"),
        ('[policy.windows.n]\nopens = "22:00"\ncloses = "23:00"\ndays = ["monday"]', "policy.windows.n.days", "'mon'"),
        ('[policy.windows.n]\nopens = "22:00"\ncloses = "23:00"\ntime_zone = "Mars"', "policy.windows.n.time_zone",
         "there is no time zone 'Mars'"),
        ("[policy.freezes.f]\nbegins = 2026-12-01T00:00:00\nends = 2026-12-02T00:00:00Z\nreason = 'x'",
         "policy.freezes.f.begins", "timezone"),
        ("[policy.freezes.f]\nbegins = 2026-12-02T00:00:00Z\nends = 2026-12-02T00:00:00Z\nreason = 'x'",
         "policy.freezes.f.ends", "it is not after the beginning"),
        ("[policy.freezes.f]\nbegins = 2026-12-01T00:00:00Z\nends = 2026-12-02T00:00:00Z", "policy.freezes.f.reason",
         "it is missing"),
        ('[jail.web.policy]\nanytime = true\n[jail.web.policy.windows.n]\nopens = "22:00"\ncloses = "23:00"',
         "jail.web.policy.anytime", "leave one of the two out"),
        ('[jail.web.policy.windows.n]\nopens = "22:00"\ncloses = "23:00"\ntime_zone = "x/y"',
         "jail.web.policy.windows.n.time_zone", "there is no time zone"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_key(office: Office, policy: str, key: str, words: str) -> None:
    told = mistakes(office, policy)
    assert key in told
    assert words in told


def test_the_policy_in_force_is_shown_and_can_be_read_again(office: Office) -> None:
    office.configure(
        '[policy]\ntime_zone = "Europe/Amsterdam"\n[policy.windows.night]\nopens = "22:00"\ncloses = "04:00"\n'
        '[policy.freezes.sales]\nbegins = 2026-11-27T00:00:00+01:00\nends = 2026-11-28T00:00:00+01:00\nreason = "x"\n'
    )
    shown = office.bench.run("config", "show").out
    office.bench.configure(shown)
    assert office.bench.run("config", "show").out == shown


def test_the_digest_of_the_policy_changes_with_the_policy_of_the_target_alone() -> None:
    plain = {"template": {"debian": {"bootstrap": "debian", "suite": "x"}}}
    jail = {"template": "debian", "command": ["/x"]}
    first = Config.model_validate({**plain, "jail": {"web": jail, "db": jail}})
    other = Config.model_validate(
        {**plain, "jail": {"web": {**jail, "policy": {"require_approval": True}}, "db": jail}}
    )
    assert mistakes_in(first) == []
    digests = [rules_for(one, "upgrade", f"jail:{name}").digest for one in (first, other) for name in ("web", "db")]
    assert digests[0] == digests[1] == digests[3] != digests[2]


def test_a_release_is_guarded_as_the_strictest_of_the_jails_of_its_template() -> None:
    jail = {"template": "debian", "command": ["/x"]}
    config = Config.model_validate(
        {
            "template": {name: {"bootstrap": "debian", "suite": "x"} for name in ("debian", "alpine")},
            "jail": {"web": {**jail, "policy": {"require_approval": True, "self_approval": False}}, "db": jail},
            "policy": {"self_approval": True},
        }
    )
    for template, asked, alone in (("debian", True, False), ("alpine", False, True)):
        rules = rules_for(config, "destroy-release", f"release:{template}")
        assert (rules.require_approval, rules.self_approval) == (asked, alone)
