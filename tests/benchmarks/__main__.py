"""``python -m tests.benchmarks``: every figure stands beside its floor, measured in the same run."""

from tests.benchmarks.copies import measure_copies
from tests.benchmarks.downtime import measure_downtime
from tests.benchmarks.fsyncs import measure_fsyncs
from tests.benchmarks.table import print_table


def main() -> None:
    """Run all benchmarks and print one table each."""
    print_table("downtime of a switch, as a client sees it", measure_downtime())
    print_table("copies in plain directories", measure_copies())
    print_table("durable commits of a transaction", measure_fsyncs())


if __name__ == "__main__":
    main()
