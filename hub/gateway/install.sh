#!/bin/sh
# Installs manyarm-spoke into an environment of its own.
#
#   sh manyarm-install --hub HOST:PORT --wheel NAME --sha256 HEX [--into FOLDER]
#
# The connection is not trusted: what counts is the SHA-256, which was printed beside the join code.
set -eu

hub='' wheel='' sha256='' into=''

fail() {
    printf 'manyarm-install: %s\n' "$1" >&2
    exit "${2:-1}"
}

while [ $# -gt 0 ]; do
    case "$1" in
        --hub | --wheel | --sha256 | --into)
            [ $# -ge 2 ] || fail "$1 needs a value" 2
            case "$1" in
                --hub) hub=$2 ;;
                --wheel) wheel=$2 ;;
                --sha256) sha256=$2 ;;
                --into) into=$2 ;;
            esac
            shift 2
            ;;
        *) fail "unknown argument $1; expected --hub HOST:PORT --wheel NAME --sha256 HEX [--into FOLDER]" 2 ;;
    esac
done

case "$hub" in
    '' | *[!A-Za-z0-9.:_-]* | *'['* | -*) fail '--hub HOST:PORT is needed, as the join code command shows it' 2 ;;
esac
case "$wheel" in
    '' | *[!A-Za-z0-9._+-]* | .* | -*) fail '--wheel NAME is needed, as the join code command shows it' 2 ;;
    *.whl) ;;
    *) fail '--wheel is the name of a .whl file' 2 ;;
esac
case "$sha256" in
    *[!0-9a-f]*) fail '--sha256 is 64 lowercase hexadecimal characters' 2 ;;
esac
[ ${#sha256} -eq 64 ] || fail '--sha256 is 64 lowercase hexadecimal characters' 2
if [ -z "$into" ]; then
    if [ "$(id -u)" -eq 0 ]; then into=/opt/manyarm-spoke; else into=$HOME/.local/share/manyarm-spoke; fi
fi

python=''
for candidate in python3.13 python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail 'Python 3.11, 3.12 or 3.13 is needed and was not found on PATH; install it and run this again'
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python cannot make environments; install its venv module (Debian: apt-get install python3-venv)"

umask 022
temporary=$(mktemp -d) || fail 'no temporary folder can be made'
trap 'rm -rf "$temporary"' EXIT
trap 'exit 130' INT TERM

"$python" - "https://$hub/wheel/$wheel" "$temporary/$wheel" "$sha256" <<'PYTHON'
import hashlib
import ssl
import sys
import urllib.request

address, path, expected = sys.argv[1:]
unverified = ssl._create_unverified_context()  # The hash below decides, not the certificate.
digest, left = hashlib.sha256(), 200 * 1024 * 1024
try:
    with urllib.request.urlopen(address, timeout=60, context=unverified) as answer, open(path, "xb") as file:
        while block := answer.read(65536):
            left -= len(block)
            if left < 0:
                sys.exit("manyarm-install: the hub sends more than a wheel can be")
            digest.update(block)
            file.write(block)
except OSError as error:
    sys.exit(f"manyarm-install: {address} cannot be fetched: {error}")
if digest.hexdigest() != expected:
    sys.exit(f"manyarm-install: the wheel is not the one that was named: its SHA-256 is {digest.hexdigest()}; nothing was installed")
PYTHON

"$python" -m venv "$into" || fail "no environment can be made in $into"
"$into/bin/python" -m pip install --quiet --disable-pip-version-check "$temporary/$wheel[spoke]" ||
    fail "pip could not install the wheel into $into"

printf '\nmanyarm-spoke is installed. Join this machine to its hub with:\n\n'
printf '    %s/bin/manyarm-spoke enrol JOIN-CODE --name %s\n\n' "$into" "$(uname -n)"
