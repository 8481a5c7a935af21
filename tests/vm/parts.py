"""The tier in two parts that run side by side, each with a guest of its own, so that two processors are at work."""

import pytest

from tests.vm.site import BACKENDS

LVM_PART = pytest.mark.xdist_group("lvm")
OTHER_PART = pytest.mark.xdist_group("btrfs and zfs")
#: What is asked of each storage.
EACH = [pytest.param(driver, marks=LVM_PART if driver == "lvm" else OTHER_PART) for driver in BACKENDS]
