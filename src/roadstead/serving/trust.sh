#!/bin/sh
# Makes this machine trust the container registry @HOST@, whose certificates are signed by an authority of its own:
# docker, podman, skopeo, buildah, containerd, apptainer, curl.
#
#   sh trust.sh [--print] [--user] [--fingerprint SHA256]
#
#   --print         only say what would be done
#   --user          set up for this user only; the same as without root
#   --fingerprint   stop unless the authority has this SHA-256 fingerprint. Take it from your administrator: a script that
#                   came over a connection which you do not trust yet can claim anything, and do anything. Before you run it,
#                   compare fingerprints, and read it or fetch it anew with the authority that you have checked:
#                       curl --cacert ca.crt https://@HOST@/trust.sh
set -eu

HOST='@HOST@'
NAME='@NAME@'
FINGERPRINT='@FINGERPRINT@'
CERTIFICATE='@CERTIFICATE@'

say() { printf '%s\n' "$*"; }
die() { printf 'trust.sh: %s\n' "$*" >&2; exit 1; }
plain() { printf '%s' "$1" | tr -d ': \n' | tr '[:upper:]' '[:lower:]' | sed 's/^.*=//; s/^sha256//'; }

# The SHA-256 of the certificate that this script carries.
carried() {
  body=$(printf '%s\n' "$CERTIFICATE" | sed '/-----/d')
  if command -v sha256sum >/dev/null 2>&1; then printf '%s\n' "$body" | base64 -d | sha256sum | cut -d ' ' -f 1
  elif command -v openssl >/dev/null 2>&1; then printf '%s\n' "$body" | openssl base64 -d | openssl dgst -sha256 -r | cut -d ' ' -f 1
  else die "neither sha256sum nor openssl is here to check the certificate"; fi
}

# write FILE: standard input becomes FILE, readable by all, its directories made.
write() {
  say "write $1"
  if [ "$print" = 1 ]; then cat >/dev/null; return; fi
  mkdir -p "$(dirname "$1")"
  cat >"$1.new"
  chmod 644 "$1.new"
  mv -f "$1.new" "$1"
}

certificate() { printf '%s\n' "$CERTIFICATE" | write "$1"; }

run() {
  say "run $*"
  [ "$print" = 1 ] || "$@"
}

containerd() {
  directory=/etc/containerd/certs.d/$HOST
  command -v containerd >/dev/null 2>&1 || [ -d /etc/containerd ] || return 0
  if [ -e "$directory/hosts.toml" ] && ! grep -q 'written by trust.sh' "$directory/hosts.toml"; then
    say "leave $directory/hosts.toml, which is not from here: add   ca = \"$directory/ca.crt\""
  else
    printf '# written by trust.sh\nserver = "https://%s"\n\n[host."https://%s"]\n  ca = "%s/ca.crt"\n' "$HOST" "$HOST" "$directory" |
      write "$directory/hosts.toml"
  fi
  certificate "$directory/ca.crt"
  say "  (containerd reads this where its configuration has config_path = \"/etc/containerd/certs.d\")"
}

# The system's bundle serves curl, apptainer, oras, crane and most others.
bundle() {
  if [ -d /etc/pki/ca-trust/source/anchors ] && command -v update-ca-trust >/dev/null 2>&1; then
    certificate "/etc/pki/ca-trust/source/anchors/roadstead-$NAME.crt"
    run update-ca-trust extract
  elif [ -d /etc/pki/trust/anchors ] && command -v update-ca-certificates >/dev/null 2>&1; then
    certificate "/etc/pki/trust/anchors/roadstead-$NAME.crt"
    run update-ca-certificates
  elif command -v update-ca-certificates >/dev/null 2>&1; then
    certificate "/usr/local/share/ca-certificates/roadstead-$NAME.crt"
    run update-ca-certificates
  elif [ -d /etc/ca-certificates/trust-source/anchors ] && command -v update-ca-trust >/dev/null 2>&1; then
    certificate "/etc/ca-certificates/trust-source/anchors/roadstead-$NAME.crt"
    run update-ca-trust extract
  else
    say "leave the system's certificates: neither update-ca-certificates nor update-ca-trust is here"
  fi
}

for_system() {
  certificate "/etc/docker/certs.d/$HOST/ca.crt"
  certificate "/etc/containers/certs.d/$HOST/ca.crt"
  containerd
  bundle
  say "Done. Docker and Podman use it from now on. Programs that read the system's bundle when they start must be restarted;"
  say "Docker with its containerd image store is one of them, because it asks for tokens so: systemctl restart docker"
}

# Apptainer, oras, crane and curl take one file instead of the system's bundle, so that file must hold the bundle too.
for_user() {
  [ -n "${HOME:-}" ] || die "HOME is not set"
  mine=$HOME/.config/roadstead/$NAME
  certificate "$HOME/.config/containers/certs.d/$HOST/ca.crt"
  certificate "$mine/ca.crt"
  {
    for system in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
      if [ -r "$system" ]; then cat "$system"; break; fi
    done
    printf '%s\n' "$CERTIFICATE"
  } | write "$mine/bundle.crt"
  say "Podman, skopeo and buildah use it from now on. For apptainer, oras, crane, curl and others, put this line into ~/.profile:"
  say "  export SSL_CERT_FILE=$mine/bundle.crt"
  say "Docker's daemon takes it from its administrator only (run this as root on its machine)."
}

main() {
  print=0 user=0 wanted=
  while [ $# -gt 0 ]; do
    case $1 in
      --print) print=1 ;;
      --user) user=1 ;;
      --fingerprint) [ $# -gt 1 ] || die "--fingerprint needs a value"; wanted=$2; shift ;;
      *) die "usage: trust.sh [--print] [--user] [--fingerprint SHA256]" ;;
    esac
    shift
  done
  [ "$(carried)" = "$(plain "$FINGERPRINT")" ] || die "this script is damaged: its certificate does not have the fingerprint $FINGERPRINT"
  [ -z "$wanted" ] || [ "$(plain "$wanted")" = "$(plain "$FINGERPRINT")" ] || die "NOT the authority you expect: its fingerprint is $FINGERPRINT"
  say "Authority of $HOST, SHA-256 fingerprint $FINGERPRINT"
  [ -n "$wanted" ] || say "Compare this with what your administrator told you."
  if [ "$user" = 0 ] && [ "$(id -u)" = 0 ]; then for_system; else for_user; fi
}

# The last line, so that a script of which only a part arrived does nothing.
main "$@"
