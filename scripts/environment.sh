# Sourced by the scripts beside it: `prepare [extras]` makes the clone's .venv, once, and says nothing afterwards.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"

prepare() {
    local extras="${1:-}" stamp wanted python
    stamp="$venv/installed${extras:+-${extras//,/-}}"
    wanted="$(cat "$root/setup.cfg" "$root/pyproject.toml" "$root/constraints.txt" | cksum) $root"
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return

    echo "metarun: setting up $venv (once; it takes minutes) ..." >&2
    exec 9>"$root/.venv.lock"
    # Two scripts started together must not install over each other; where flock is missing, that is on the user.
    if command -v flock >/dev/null; then flock 9; fi
    # An interrupted start can leave a venv without pip; one that works is kept, and the install below completes it.
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python="$(find_python)"
        "$python" -m venv --clear "$venv"
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint "$root/constraints.txt" --editable "$root${extras:+[$extras]}" >&2
    echo "$wanted" >"$stamp"
    exec 9>&-
}

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.11 python3.12 python3.13}; do
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "metarun: Python 3.11 to 3.13 is needed; say where one is: PYTHON=/path/to/python $0" >&2
    return 2
}
