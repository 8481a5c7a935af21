#!/bin/bash
# Check a proof file with ssh-keygen and coreutils alone: check-proof.sh PROOF KEY.pub
set -euo pipefail
proof=$1 key=$2 work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "NOT PROVED: $1"; exit 1; }

# The parts of the file: head, checkpoint, key and signature are set off by empty lines.
head=$(sed '/^$/q' "$proof")
sed '1,/^$/d' "$proof" | sed '/^$/,$d' > "$work/checkpoint"
sed -n '/^-----BEGIN SSH SIGNATURE-----$/,$p' "$proof" > "$work/signature"
index=$(sed -n '2s/^index //p' <<< "$head")
size=$(sed -n 2p "$work/checkpoint")
root=$(sed -n 3p "$work/checkpoint")

# 1. The checkpoint is signed by the key that we have from elsewhere.
echo "rootswap $(cut -d ' ' -f 1,2 "$key")" > "$work/allowed"
ssh-keygen -Y verify -f "$work/allowed" -I rootswap -n rootswap-checkpoint@v1 -s "$work/signature" \
    < "$work/checkpoint" || fail "the checkpoint is not signed by that key"

# 2. The record leads to the root of the checkpoint: RFC 6962, leaf 0x00, node 0x01.
bytes() { printf "$(sed 's/../\\x&/g' <<< "$1")"; }
hash() { sha256sum | cut -d ' ' -f 1; }
node() { { printf '\001'; bytes "$1"; bytes "$2"; } | hash; }
here=$({ printf '\000'; sed -n '3s/^record //p' <<< "$head" | tr -d '\n'; } | hash)
number=$index last=$((size - 1))
while read -r line; do
    sibling=$(base64 -d <<< "$line" | od -An -v -tx1 | tr -d ' \n')
    ((last > 0)) || fail "the path is too long"
    if ((number % 2 == 1 || number == last)); then
        here=$(node "$sibling" "$here")
        while ((number > 0 && number % 2 == 0)); do number=$((number / 2)) last=$((last / 2)); done
    else
        here=$(node "$here" "$sibling")
    fi
    number=$((number / 2)) last=$((last / 2))
done < <(sed -n '4,$p' <<< "$head" | sed '/^$/d')
((last == 0)) || fail "the path is too short"
[ "$(bytes "$here" | base64)" = "$root" ] || fail "the record is not in the tree of the checkpoint"
echo "PROVED: record $((index + 1)) of $size"
