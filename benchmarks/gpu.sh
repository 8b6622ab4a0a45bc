#!/usr/bin/env bash
# One command on a machine with a GPU: benchmarks/gpu.sh [options of benchmarks/gpu.py]; the table is gpu.md.
#
# Takes the Python at hand (or PYTHON=…) with its torch; what else the project needs goes into .venv-gpu, at the project's pins. Where no
# network reaches: `benchmarks/gpu.sh --pack FOLDER [PYTHON_VERSION]` on another machine, then WHEELS=FOLDER here. What cannot be
# installed is left out, and the table says what that costs.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
venv=$root/.venv-gpu

pins() {  # without torch, which belongs to the machine's CUDA, and without what no measurement imports
    grep -vE '^(torch|nvidia|triton|ray|altair|vl-convert|duckdb|pyarrow|pandas|mypy|ruff|pytest|hypothesis|ipy|jupyter|nb|jedi|debugpy|pyzmq)' \
        "$root/constraints.txt" | grep -E '^[A-Za-z0-9]'
}

if [ "${1:-}" = --pack ]; then
    for glibc in 17 24 26 27 28 31 34; do platforms+=(--platform "manylinux_2_${glibc}_x86_64"); done
    for pin in $(pins); do
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp \
            --python-version "${3:-3.12}" "${platforms[@]}" --platform manylinux2014_x86_64 --dest "${2:?a folder for the wheels}" "$pin" \
            || echo "left out: $pin" >&2
    done
    exit
fi

if ! "$python" -c 'import pydantic, ruamel.yaml, safetensors, dp_accounting, diffusers, peft, transformers, opacus' 2> /dev/null; then
    if [ -x "$venv/bin/python" ] || "$python" -m venv --system-site-packages "$venv"; then
        python=$venv/bin/python
        install=("$python" -m pip install --quiet --disable-pip-version-check --no-deps)
        if [ -n "${WHEELS:-}" ]; then
            "${install[@]}" --no-index "$WHEELS"/*.whl || echo "left out: some of $WHEELS" >&2
        else
            "$python" -c 'import torch' 2> /dev/null || "$python" -m pip install --quiet "$(grep '^torch==' "$root/constraints.txt")"
            for pin in $(pins) $(grep '^ray==' "$root/constraints.txt"); do
                "${install[@]}" --retries 1 --timeout 15 "$pin" || { echo "left out: $pin" >&2; failed=$((${failed:-0} + 1)); }
                [ "${failed:-0}" -lt 5 ] || break  # no index answers
            done
        fi
    else
        rm -rf "$venv"
        echo "no virtual environment can be made (on Debian: apt install python3-venv); with the packages at hand" >&2
    fi
fi
exec "$python" "$root/benchmarks/gpu.py" "$@"
