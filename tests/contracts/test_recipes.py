"""Recipes, and what dpkg and apt say, without building anything."""

import os
from pathlib import Path
from typing import Any

import pytest

from commands.drivers.base import Completed, Recipe
from commands.drivers.build_failures import build_failure, telling_lines
from commands.drivers.builders import RootBuilder, check_recipe, parsed_dpkg_status
from commands.drivers.host import LocalHost
from commands.errors import DriverError

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 2.36-9
Description: GNU C Library
 Package: not-a-package
 Version: 0

Package: libc6
Status: install ok installed
Architecture: i386
Version: 2.36-9

Package: removed
Status: deinstall ok config-files
Version: 1.0

Package: half
Status: install reinstreq half-installed
Version: 1.0

Package: held
Status: hold ok installed
Version: 1:2.0~rc1+b1
"""


def recipe(**values: Any) -> Recipe:
    return Recipe.model_validate({"method": "apt", **values})


def test_installed_packages_are_read_from_dpkgs_own_file() -> None:
    assert parsed_dpkg_status(STATUS) == {"libc6": "2.36-9", "libc6:i386": "2.36-9", "held": "1:2.0~rc1+b1"}
    assert parsed_dpkg_status("") == {}


def test_a_root_without_a_package_database_has_no_packages(tmp_path: Path) -> None:
    assert RootBuilder(LocalHost()).packages(str(tmp_path)) == {}


def test_a_package_database_behind_a_symlink_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "real/dpkg").mkdir(parents=True)
    (tmp_path / "real/dpkg/status").write_text(STATUS)
    (tmp_path / "var").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "var/lib")
    with pytest.raises(DriverError, match="symbolic link"):
        RootBuilder(LocalHost()).packages(str(tmp_path))


@pytest.mark.parametrize(
    "values",
    [
        {"method": "debian", "suite": "bookworm", "packages": ("nginx-light", "libc6:i386", "tzdata=2026b-0+deb12u1")},
        {"sources": ("deb [signed-by=/a.gpg] http://deb.debian.org/debian bookworm main",)},
        {"method": "tar", "file": "/root.tar", "sha256": "0" * 64},
        {"packages": ("nginx/bookworm-backports",)},
    ],
)
def test_a_good_recipe_is_passed(values: dict[str, Any]) -> None:
    check_recipe(recipe(**values))


@pytest.mark.parametrize(
    "values",
    [
        {"method": "debian"},
        {"method": "debian", "suite": "--help"},
        {"method": "tar"},
        {"method": "inside"},
        {"method": "script"},
        {"packages": ("--purge",)},
        {"packages": ("nginx,vim",)},
        {"packages": ("nginx vim",)},
        {"packages": ("nginx-",)},
        {"sources": ("--hook=evil",)},
        {"sources": ("deb http://a b c\ndeb http://evil b c",)},
        {"method": "tar", "file": "/root.tar", "sha256": "0" * 63},
    ],
)
def test_a_recipe_that_a_tool_would_take_for_something_else_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(DriverError, match="cannot follow the recipe"):
        check_recipe(recipe(**values))


def test_apts_own_errors_are_told_and_else_the_last_words() -> None:
    said = "W: x\nE: first\nnoise\nE: first\ndpkg: error processing package y (--configure):\nE: third\n"
    expected = "E: first; dpkg: error processing package y (--configure):; E: third"
    assert telling_lines(Completed(100, "", said)) == expected
    assert telling_lines(Completed(2, "", "one\ntwo\n")) == "one; two"
    assert telling_lines(Completed(2, "", "")) == ""


def test_a_failed_build_says_what_ended_how_and_bounds_what_it_quotes() -> None:
    script = recipe(method="inside", file="/etc/rootswap/up.sh")
    silent = build_failure(script, Completed(7, "", ""))
    assert silent.message == "cannot build the root by inside: /etc/rootswap/up.sh ended with exit status 7"
    assert silent.remedy == "it printed nothing"
    killed = build_failure(recipe(method="apt"), Completed(-9, "", f"{'x' * 5000}\n"))
    assert killed.message.startswith("cannot build the root by apt: killed by signal 9: xxx")
    assert max(len(killed.message), len(killed.remedy)) < 300


@pytest.mark.parametrize("path", ["relative", "/tmp/../etc/passwd", "/nowhere/at/all", "/etc", "/etc/mtab"])
def test_a_file_that_is_no_plain_absolute_path_is_refused(path: str) -> None:
    with pytest.raises(DriverError, match=r"cannot use /?[a-z]+"):
        RootBuilder(LocalHost()).build(recipe(method="tar", file=path), "/nowhere", lambda: False)
