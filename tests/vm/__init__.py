"""A Debian guest under QEMU's software emulation: real Btrfs, ZFS and LVM, systemd as PID 1, and power that is cut."""
