#!/usr/bin/env bash
# Builds build/docs/html from the pages below docs and the public headers, which cmake/Interfaces.cmake lists.
# `make docs` runs it.
# Exit code 1 if doxygen has a warning: a public name without a contract, or a reference that leads nowhere.
#
# usage: docs/build_reference.sh [BUILD_FOLDER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
output=${1:-build}/docs

mapfile -t headers < <(sed -n '/^set(interface_headers/,/)/p' cmake/Interfaces.cmake | grep -o 'framework/[a-z_/]*\.h')
if ((${#headers[@]} == 0)); then
  echo "docs: cmake/Interfaces.cmake lists no public header" >&2
  exit 2
fi
mkdir -p "$output"
{
  cat docs/Doxyfile
  printf 'OUTPUT_DIRECTORY = "%s"\n' "$output"
  printf 'INPUT += %s\n' "${headers[@]}"
} | doxygen - 2>"$output/warnings.txt" || true
if [[ -s $output/warnings.txt ]]; then
  sed "s|^$PWD/||" "$output/warnings.txt" >&2
  echo "docs: $(grep -c . "$output/warnings.txt") warnings" >&2
  exit 1
fi
[[ -e $output/html/index.html ]] || {
  echo "docs: doxygen wrote no $output/html/index.html" >&2
  exit 1
}
echo "docs: $output/html/index.html, ${#headers[@]} public headers"
