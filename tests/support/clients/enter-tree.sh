#!/bin/bash
# Run one program of the clients' tree; installed as bin/<program> by install-clients.sh.
#
# The program gets a private mount namespace whose root is the tree (pivot_root, not chroot: apptainer and podman need / to be a
# mount point), the caller's environment, working directory, /tmp, network, processes and devices, an empty /run, no name
# resolution beyond /etc/hosts. Root's home is $HOME, because some clients look in the password file instead of at $HOME, and
# /var/lib/containers is $HOME/containers, because podman and skopeo remember there which blobs a registry has.
# $HOME and all files that caller and program share must therefore lie under /tmp.
set -euo pipefail
self=$(readlink -f "$0")
root=$(dirname "$(dirname "$self")")/root
# The capability that such machines lack (see install-clients.sh) must be dropped by name as well.
export APPTAINER_DROP_CAPS=${APPTAINER_DROP_CAPS-CAP_SYS_RESOURCE}

exec unshare --mount --propagation private bash -ec '
  root=$1 directory=$2; shift 2
  mount --bind "$root" "$root"
  for place in proc sys dev tmp; do mount --rbind "/$place" "$root/$place"; done
  mount -t tmpfs run "$root/run"
  mkdir -p "$root/run/user/0" "$root/run/lock"
  mount --bind /etc/hosts "$root/etc/hosts"
  mount --bind /dev/null "$root/etc/resolv.conf"
  case $HOME in /tmp/*)
    mkdir -p "$HOME/containers"
    mount --bind "$HOME" "$root/root"
    mount --bind "$HOME/containers" "$root/var/lib/containers"
  esac
  cd "$root"
  pivot_root . .
  umount -l .
  cd "$directory" 2>/dev/null || cd /
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  exec "$@"
' sh "$root" "$PWD" "$(basename "$0")" "$@"
