#!/bin/bash
# Install the container clients that tests/protocols drives: a small Debian unstable tree beside the system, so that the
# machine's own packages stay as they are, and one wrapper per client (enter-tree.sh) in bin/.
#
#   sudo tests/support/clients/install-clients.sh
#
# About a minute and 1 GB the first time, nothing when it is already there. The only traffic goes to the Debian mirror
# that this machine's own apt uses. Settings, all optional:
#
#   ROADSTEAD_CLIENTS         where it goes                    (/var/lib/roadstead-clients)
#   ROADSTEAD_CLIENTS_MIRROR  the Debian mirror                (the one in apt's configuration)
#   ROADSTEAD_CLIENTS_SUITE   the Debian suite                 (sid: stable has no apptainer, oras or notation)
set -euo pipefail

BASE=${ROADSTEAD_CLIENTS:-/var/lib/roadstead-clients}
SUITE=${ROADSTEAD_CLIENTS_SUITE:-sid}
HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$BASE/root
BIN=$BASE/bin

CLIENTS=(apptainer singularity oras cosign crane notation skopeo podman docker dockerd)
PACKAGES=(
  apptainer oras cosign crane notation skopeo podman docker.io docker-cli containerd
  # The payload of the test images.
  busybox-static
  # What the clients need at run time although their packages only recommend it.
  ca-certificates crun runc iptables netavark uidmap e2fsprogs squashfs-tools squashfuse fuse3 fuse2fs fuse-overlayfs gpg
)

die() { echo "install-clients.sh: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "run this as root: it builds a file system tree and its wrappers change their root to it"
mkdir -p "$BASE"
exec 9>"$BASE/.lock"
flock 9

stamp=$(cat "$HERE/install-clients.sh" "$HERE/enter-tree.sh" | sha256sum | cut -d' ' -f1)-$SUITE
if [ "$(cat "$BASE/.complete" 2>/dev/null)" = "$stamp" ]; then
  echo "clients: already in $BIN"
  exit 0
fi
rm -f "$BASE/.complete"

export DEBIAN_FRONTEND=noninteractive LC_ALL=C
eval "$(apt-config shell proxy Acquire::http::Proxy)"
[ -z "${proxy:-}" ] || export http_proxy=$proxy https_proxy=$proxy

debian_mirror() { # What apt itself says it uses; its lists carry the origin, so another distribution's mirror is never taken.
  apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' | awk '$1 == "Debian" && $2 !~ /-/ { print $3; exit }'
}
MIRROR=${ROADSTEAD_CLIENTS_MIRROR:-$(debian_mirror)}
if [ -z "$MIRROR" ]; then
  apt-get update -q >"$BASE/apt.log" 2>&1 || die "apt-get update failed; see $BASE/apt.log"
  MIRROR=$(debian_mirror)
fi
[ -n "$MIRROR" ] || die "apt's configuration names no Debian mirror; set ROADSTEAD_CLIENTS_MIRROR"

if ! command -v debootstrap >/dev/null || [ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
  (apt-get update -q && apt-get install -y -q --no-install-recommends debootstrap debian-archive-keyring) >"$BASE/apt.log" 2>&1 \
    || die "debootstrap could not be installed; see $BASE/apt.log"
fi

if [ ! -e "$ROOT/etc/debian_version" ]; then
  rm -rf --one-file-system "$ROOT.partial" "$ROOT"
  debootstrap --variant=minbase --include=ca-certificates "$SUITE" "$ROOT.partial" "$MIRROR" >"$BASE/debootstrap.log" 2>&1 \
    || die "debootstrap failed; see $BASE/debootstrap.log"
  printf '#!/bin/sh\nexit 101\n' >"$ROOT.partial/usr/sbin/policy-rc.d" # No package may start a daemon.
  chmod 755 "$ROOT.partial/usr/sbin/policy-rc.d"
  printf 'path-exclude=/usr/share/%s/*\n' doc man locale >"$ROOT.partial/etc/dpkg/dpkg.cfg.d/without-documentation"
  printf 'force-unsafe-io\n' >"$ROOT.partial/etc/dpkg/dpkg.cfg.d/unsafe-io"
  mv "$ROOT.partial" "$ROOT"
fi

cp -L /etc/resolv.conf "$ROOT/etc/resolv.conf" 2>/dev/null || true
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then # A site's own authority may have signed the mirror's certificate.
  cp -L /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/ca-certificates.crt"
fi
# A machine behind a frozen mirror has told its apt to accept the mirror's age; the signatures are checked all the same.
apt-config dump | grep -E '^Acquire::Check-(Valid-Until|Date) ' >"$ROOT/etc/apt/apt.conf.d/50like-this-machine" || true
unshare -m --propagation private bash -ec '
  root=$1; shift
  mount -t proc proc "$root/proc"; mount --bind /dev "$root/dev"; mount -t tmpfs run "$root/run"
  chroot "$root" apt-get update -q
  chroot "$root" apt-get install -y -q --no-install-recommends "$@"
  chroot "$root" apt-get clean
' sh "$ROOT" "${PACKAGES[@]}" >"$BASE/packages.log" 2>&1 || die "the clients could not be installed; see $BASE/packages.log"

# Where root lacks a capability, as in most containers and many virtual machines, apptainer fails because it asks for all of them
# ("Requesting capability set ... while permitted capability set is ..."). Pulling and converting needs none.
sed -i 's/^root default capabilities = .*/root default capabilities = no/' "$ROOT/etc/apptainer/apptainer.conf"

mkdir -p "$BIN" "$ROOT/var/lib/containers"
install -m 755 "$HERE/enter-tree.sh" "$BIN/.enter-tree"
for client in "${CLIENTS[@]}"; do
  chroot "$ROOT" sh -c "command -v $client" >/dev/null || die "Debian $SUITE has no $client at the moment"
  ln -sfn .enter-tree "$BIN/$client"
done
echo "$stamp" >"$BASE/.complete"
echo "clients: ${CLIENTS[*]} in $BIN ($(du -sxh "$ROOT" | cut -f1))"
