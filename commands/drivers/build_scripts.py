"""The scripts that run inside a root. They are constant: whatever varies is an argument, never part of the text.

``$1`` is the host's resolv.conf and ``$2`` its hosts file; the rest belongs to the script that follows PREPARE. All
runs as the first process of a PID namespace, behind chroot, in a mount namespace that nobody else sees.
"""

PREPARE = r"""
export HOME=/root
umask 022
mount -n -t tmpfs -o mode=0755,nosuid tmpfs /run
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t tmpfs -o mode=1777,nosuid tmpfs /tmp
mount -t tmpfs -o mode=0755,nosuid,noexec tmpfs /dev
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/zero c 1 5
mknod -m 666 /dev/full c 1 7
mknod -m 666 /dev/random c 1 8
mknod -m 666 /dev/urandom c 1 9
mknod -m 666 /dev/tty c 5 0
mkdir /dev/pts /dev/shm /run/rootswap
mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr

# cover FILE MODE CONTENT: show a content in place of a file, which itself is not touched.
# What had to be made to mount on is noted as a symlink, and removed at the end.
covers=0
cover() {
    covers=$((covers + 1))
    shown=$(readlink -m "$1" 2>/dev/null || readlink -f "$1" || echo "$1")
    if [ ! -e "$shown" ]; then
        mkdir -p "${shown%/*}"
        ln -s "$shown" "/run/rootswap/made.$covers"
        : >"$shown"
    fi
    printf '%s' "$3" >"/run/rootswap/cover.$covers"
    chmod "$2" "/run/rootswap/cover.$covers"
    mount --bind "/run/rootswap/cover.$covers" "$shown"
}
uncover() {
    for made in /run/rootswap/made.*; do
        [ -L "$made" ] || continue
        shown=$(readlink "$made")
        umount "$shown" 2>/dev/null || :
        rm -f "$shown"
    done
}
trap uncover EXIT

cover /etc/resolv.conf 644 "$1"
cover /etc/hosts 644 "$2"
# No daemon may start: invoke-rc.d asks here, and 101 means that it is forbidden.
cover /usr/sbin/policy-rc.d 755 '#!/bin/sh
exit 101
'
shift 2
"""

#: ``$1`` is the new sources.list, or empty to leave the sources as they are; the rest are packages.
APT = r"""
export DEBIAN_FRONTEND=noninteractive DEBIAN_PRIORITY=critical UCF_FORCE_CONFFOLD=1
export APT_LISTCHANGES_FRONTEND=none NEEDRESTART_MODE=l
parts=
if [ -n "$1" ]; then
    # The recipe's sources are all that counts; what lies in sources.list.d stays there and is not asked.
    printf '%s' "$1" >/etc/apt/sources.list
    parts='-oDir::Etc::sourceparts=-'
fi
shift
# Without Error-Mode=any an index that could not be fetched is only a warning, and the upgrade a silent nothing.
get() {
    apt-get -q -y $parts -oAPT::Update::Error-Mode=any -oAcquire::Retries=3 -oAPT::Install-Recommends=false \
        -oDpkg::Options::=--force-confdef -oDpkg::Options::=--force-confold "$@"
}
dpkg --configure -a
get update
get dist-upgrade
if [ "$#" -gt 0 ]; then
    get install -- "$@"
fi
get clean
rm -rf /var/lib/apt/lists/*
"""

#: ``$1`` is the script.
INSIDE = r"""
printf '%s' "$1" >/run/rootswap/script
chmod 700 /run/rootswap/script
/run/rootswap/script
"""

#: FreeBSD: ``$1`` is the host's resolv.conf, lent to a root that has none, and ``$2`` the script. In a jail, which has
#: nothing of its own mounted but /dev.
INSIDE_FREEBSD = r"""
export HOME=/root PATH=/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin
umask 022
lent=
script=
trap 'rm -f "$script" $lent' EXIT
if [ ! -e /etc/resolv.conf ] && [ ! -L /etc/resolv.conf ] && [ -n "$1" ]; then
    lent=/etc/resolv.conf
    printf '%s' "$1" >/etc/resolv.conf
fi
script=$(mktemp /tmp/rootswap.XXXXXXXX)
printf '%s' "$2" >"$script"
chmod 700 "$script"
"$script"
"""
