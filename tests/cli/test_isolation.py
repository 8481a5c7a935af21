"""The script that root runs imports from its own environment and from nowhere else."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_the_script_imports_nothing_from_where_the_environment_or_the_working_directory_leads(tmp_path: Path) -> None:
    script = Path(sys.prefix, "bin", "rootswap")
    if not script.exists():
        pytest.skip("rootswap is not installed as a script here")
    for name in ("commands", "ledger", "typer", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("print('not ours'); raise SystemExit(9)\n")
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere"}
    ended = subprocess.run(
        [script, "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout[:9], ended.stderr) == (0, "rootswap ", "")
