"""``python -m tests.demo [clean]``: see ``run``."""

import os
import sys

from tests.demo.stage import Stage, Surprise
from tests.demo.story import tell


def main() -> int:
    """Tell the story; 1 when something did not come true."""
    if os.geteuid() != 0:
        print("cannot show anything: not root; the demo mounts file systems and starts a container", file=sys.stderr)
        return 77
    stage = Stage()
    try:
        stage.clean()
        if sys.argv[1:] == ["clean"]:
            print(f"nothing is left of {stage.home}")
        elif sys.argv[1:]:
            print("usage: tests/demo/run [clean]", file=sys.stderr)
            return 2
        else:
            tell(stage)
    except Surprise as surprise:
        print(f"\nThe demo failed: {surprise}", file=sys.stderr)
        print(f"(everything is left in {stage.home} to look at; make clean-demo removes it)", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
