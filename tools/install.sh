#!/bin/sh
# Install LabRelay on a machine with systemd, or take it away again. Says each step before it does it.
#
#   sudo tools/install.sh                install, or upgrade what is installed; safe to run again at any time
#   sudo tools/install.sh --uninstall    remove program, unit and command; the site and the journal stay
#        tools/install.sh --dry-run      only say what would be done
#
# It runs from a checkout, and from the archive that `make bundle` makes; that needs no network.
#
# DESTDIR=/folder   put the same tree below a folder (packages, images); touches neither users nor systemd
# PYTHON=python3.12 another interpreter than python3 (3.11 or newer, with venv)
# --site-only       everything but the program, for those who install that in another way
# --unchecked       also where the new program says that it does not run with this site
#
# Of a new site, asked for on a terminal where they are not given (`labrelay init --help`):
# --lab NAME  --timezone ZONE  --fhir URL  --patient-numbers lasting|counter  --backup FOLDER
#
# Where things go: docs/operations.md.
set -eu

SOURCE=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
DESTDIR=${DESTDIR:-}
PYTHON=${PYTHON:-python3}

PROGRAM=/opt/labrelay
SITE=/etc/labrelay
DATA=/var/lib/labrelay
UNIT=/etc/systemd/system/labrelay.service
DROP_IN=$UNIT.d/50-site.conf
SYSUSERS=/etc/sysusers.d/labrelay.conf
UDEV=/etc/udev/rules.d/60-labrelay-serial.rules
COMMAND=/usr/local/bin/labrelay

dry_run=no
site_only=no
unchecked=no
uninstall=no
lab= timezone= fhir= patient_numbers= backup=

say() { printf '%s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }

# Do a step, or only say it.
run() {
    if [ "$dry_run" = yes ]; then printf '    %s\n' "$*"; else "$@"; fi
}

staged() { [ -n "$DESTDIR" ]; }
has_systemd() { ! staged && [ -d /run/systemd/system ]; }

# Own a path as root or the service, on a real machine; a staged tree belongs to whoever builds it.
owned() { # OWNER PATH...
    owner=$1
    shift
    staged || run chown -h "$owner" "$@"
}

check_python() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        fail "LabRelay needs Python 3.11 or newer as '$PYTHON'. On Debian or Ubuntu: apt install python3 python3-venv"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "Python's venv module is missing. On Debian or Ubuntu: apt install python3-venv"
}

make_user() {
    say "User: labrelay, without password and shell, in the group dialout for serial ports"
    run install -D -m 0644 "$SOURCE/systemd/labrelay.sysusers" "$DESTDIR$SYSUSERS"
    if staged; then
        say "    (staged: the user is made where the tree is installed, by systemd-sysusers)"
    elif command -v systemd-sysusers >/dev/null; then
        run systemd-sysusers "$SYSUSERS"
    elif ! id labrelay >/dev/null 2>&1; then
        run useradd --system --home-dir "$DATA" --shell /usr/sbin/nologin --groups dialout labrelay
    fi
}

install_serial() {
    say "Serial ports: $UDEV, for the group dialout alone, and ModemManager stays away"
    run install -D -m 0644 "$SOURCE/systemd/60-labrelay-serial.rules" "$DESTDIR$UDEV"
    if ! staged && [ -S /run/udev/control ]; then
        run udevadm control --reload
        run udevadm trigger --subsystem-match=tty --action=change
    fi
}

# An archive carries every wheel and the sum of every file; a damaged one is noticed before anything is changed.
is_bundle() { [ -d "$SOURCE/wheels" ]; }

check_bundle() {
    is_bundle || return 0
    say "Archive: comparing every file with SHA256SUMS"
    (cd "$SOURCE" && sha256sum --check --quiet --strict SHA256SUMS) >&2 ||
        fail "this archive is damaged or was changed: fetch it again. Nothing was installed"
    tag=$("$PYTHON" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
    case " $(cat "$SOURCE/PYTHONS") " in
        *" $tag "*) ;;
        *) fail "this archive has wheels for $(cat "$SOURCE/PYTHONS"), and '$PYTHON' is $tag: name another interpreter with PYTHON=..." ;;
    esac
}

# Whether the installed program has the very files of the new one.
is_installed() {
    for record in "$new"/lib/python*/site-packages/labrelay-*.dist-info/RECORD; do
        cmp -s "$record" "$DESTDIR$PROGRAM/venv${record#"$new"}" && return 0
    done
    return 1
}

# The old program runs on until this moment; an interruption before it changes nothing, and at none is there no program. It
# is kept beside the new one, so that `labrelay upgrade --rollback` can go back to it. The same one once more is no
# earlier program: the one that is kept then stays, and with it the way back.
put_in_place() {
    old=$DESTDIR$PROGRAM/venv.old
    if is_installed; then old=$DESTDIR$PROGRAM/venv.same; fi
    run rm -rf "$old"
    if [ -d "$DESTDIR$PROGRAM/venv" ]; then
        run sync -f "$new"
        run "$new/bin/python" -I -c 'import pathlib, sys
from engine.diagnostics.installed import exchange
exchange(*map(pathlib.Path, sys.argv[1:]))' "$new" "$DESTDIR$PROGRAM/venv"
        run mv "$new" "$old"
    else
        run mv "$new" "$DESTDIR$PROGRAM/venv"
    fi
    run rm -rf "$DESTDIR$PROGRAM/venv.same"
}

install_program() {
    new=$DESTDIR$PROGRAM/venv.new
    pip="$new/bin/python -I -m pip --disable-pip-version-check --quiet --no-input"
    if is_bundle; then
        say "Program: $PROGRAM/venv, from the wheels of this archive, hash-checked; no network"
        from="--no-index --find-links wheels"
        program=$(echo "$SOURCE"/wheels/labrelay-*.whl)
    else
        say "Program: $PROGRAM/venv, from the hash-checked lock (about a minute)"
        from=""
        program=$SOURCE
    fi
    cd "$SOURCE" # so that no name that pip is given has a space, wherever this folder lies
    run rm -rf "$new"
    run mkdir -p "$DESTDIR$PROGRAM"
    run "$PYTHON" -m venv "$new"
    # shellcheck disable=SC2086  # the words of $pip and $from are meant to be split
    run $pip install --require-hashes --only-binary :all: $from -r requirements/run.lock
    # shellcheck disable=SC2086
    run $pip install --no-deps --no-build-isolation $from "$program"
    run "$new/bin/python" -I -m engine.web.page_templates
    # Scripts name their interpreter by its path: it must be the path where they will stand.
    if [ "$dry_run" = no ]; then
        for script in "$new"/bin/*; do
            if [ -f "$script" ] && [ ! -L "$script" ]; then
                sed -i "s|$new|$PROGRAM/venv|g" "$script"
            fi
        done
        sed -i "s|$new|$PROGRAM/venv|g" "$new/pyvenv.cfg"
    fi
    # The new program looks at this site before it takes the old one's place.
    if ! staged && [ "$unchecked" = no ] && [ -e "$SITE/config/labrelay.yaml" ]; then
        run "$new/bin/python" -I -m engine --site "$SITE" upgrade --check ||
            fail "the new program does not run with the site in $SITE as it is (above). The old one stays; nothing was changed"
    fi
    put_in_place
    run mkdir -p "$DESTDIR$(dirname "$COMMAND")"
    run ln -sfn "$PROGRAM/venv/bin/labrelay" "$DESTDIR$COMMAND"
}

# Run the command line: the program that was installed here, else the one that was installed in another way.
call_labrelay() {
    if [ -x "$DESTDIR$PROGRAM/venv/bin/python" ] || { [ "$dry_run" = yes ] && [ "$site_only" = no ]; }; then
        run "$DESTDIR$PROGRAM/venv/bin/python" -I -m engine --site "$DESTDIR$SITE" "$@"
    else
        run labrelay --site "$DESTDIR$SITE" "$@"
    fi
}

has_labrelay() { [ "$site_only" = no ] || [ -x "$DESTDIR$PROGRAM/venv/bin/python" ] || command -v labrelay >/dev/null; }

# The site's `data: var` leads to where the service may write.
link_data() {
    if [ ! -e "$DESTDIR$SITE/var" ] && [ ! -L "$DESTDIR$SITE/var" ]; then
        run ln -s "$DATA" "$DESTDIR$SITE/var"
    fi
}

make_site() {
    set --
    if [ -n "$lab" ]; then set -- "$@" --lab "$lab"; fi
    if [ -n "$timezone" ]; then set -- "$@" --timezone "$timezone"; fi
    if [ -n "$fhir" ]; then set -- "$@" --fhir "$fhir"; fi
    if [ -n "$patient_numbers" ]; then set -- "$@" --patient-numbers "$patient_numbers"; fi
    if [ -n "$backup" ]; then set -- "$@" --backup "$backup"; fi
    (
        umask 027
        if staged; then call_labrelay init "$@" </dev/null; else call_labrelay init "$@"; fi
    )
}

install_site() {
    say "Data: $DATA, for the service alone"
    run install -d -m 0700 "$DESTDIR$DATA"
    owned labrelay:labrelay "$DESTDIR$DATA"
    if [ -e "$DESTDIR$SITE/config/labrelay.yaml" ]; then
        say "Site: $SITE is there and stays as it is"
    else
        say "Site: $SITE, a new one without analyzers"
        run install -d -m 0750 "$DESTDIR$SITE" "$DESTDIR$SITE/channels" "$DESTDIR$SITE/mappings"
        link_data
        if has_labrelay; then make_site; else say "    (once labrelay is installed: labrelay --site $SITE init)"; fi
        staged || run chown -R root:labrelay "$SITE"
    fi
    link_data
}

install_unit() {
    say "Service: $UNIT"
    run install -D -m 0644 "$SOURCE/systemd/labrelay.service" "$DESTDIR$UNIT"
    if has_labrelay; then
        say "Service: $DROP_IN, what this site's destinations and folders need; labrelay service shows it"
        call_labrelay service --write --to "$DESTDIR$DROP_IN" || say "    (not written: see labrelay doctor)"
    fi
    if has_systemd; then
        run systemctl daemon-reload
        # A running service has parts of the old program in memory and would load the rest from the new one.
        if systemctl is-active --quiet labrelay; then
            say "Restarting the running service; analyzers send again what was not acknowledged"
            run systemctl restart labrelay
        fi
    fi
}

say_what_next() {
    if staged; then
        say "Staged below $DESTDIR."
        return
    fi
    cat <<END

Next:
  1. labrelay analyzers, then sudo labrelay --site $SITE init --analyzer NAME for each of yours; to add
     them on the page instead: sudo labrelay --site $SITE service --write --adding
  2. sudo labrelay --site $SITE check
  3. sudo systemctl enable --now labrelay
  4. systemctl status labrelay, and the page at http://127.0.0.1:8580
  5. sudo -u labrelay labrelay --site $SITE doctor examines this machine; after a change of destinations or
     folders it says when sudo labrelay --site $SITE service --write is needed
END
}

remove() {
    if has_systemd; then
        say "Service: stopping and disabling it"
        run systemctl disable --now labrelay || say "    (it was not running)"
    fi
    say "Removing $COMMAND, $PROGRAM, $UNIT, $SYSUSERS, $UDEV"
    run rm -f "$DESTDIR$DROP_IN"
    run rmdir --ignore-fail-on-non-empty "$DESTDIR$UNIT.d" 2>/dev/null || true
    run rm -rf "$DESTDIR$PROGRAM" "$DESTDIR$UNIT" "$DESTDIR$SYSUSERS" "$DESTDIR$UDEV" "$DESTDIR$COMMAND"
    if has_systemd; then run systemctl daemon-reload; fi
    say "Kept: the site in $SITE, the journal in $DATA, the user labrelay."
    say "The journal holds patients' results and may be the only copy: remove it by hand, once that is sure."
}

usage() {
    sed -n '2,19s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
        --lab | --timezone | --fhir | --patient-numbers | --backup) [ $# -ge 2 ] || usage ;;
    esac
    case $1 in
        --dry-run) dry_run=yes ;;
        --site-only) site_only=yes ;;
        --unchecked) unchecked=yes ;;
        --uninstall) uninstall=yes ;;
        --lab) lab=$2 ;;
        --timezone) timezone=$2 ;;
        --fhir) fhir=$2 ;;
        --patient-numbers) patient_numbers=$2 ;;
        --backup) backup=$2 ;;
        *) usage ;;
    esac
    case $1 in
        --lab | --timezone | --fhir | --patient-numbers | --backup) shift ;;
    esac
    shift
done

case $DESTDIR in
    '' | /*) ;;
    *) fail "DESTDIR must be an absolute path" ;;
esac
if staged && [ -n "$backup" ]; then
    fail "--backup makes a folder on this machine, and a staged tree is for another one"
fi
if ! staged && [ "$dry_run" = no ] && [ "$(id -u)" != 0 ]; then
    fail "this changes the system: run it with sudo (or with --dry-run to see what it would do)"
fi

if [ "$uninstall" = yes ]; then
    remove
    exit 0
fi
if [ "$site_only" = no ]; then
    check_python
    check_bundle
fi
make_user
install_serial
if [ "$site_only" = no ]; then install_program; fi
install_site
install_unit
say_what_next
