#!/usr/bin/env bash
# Puts everything on this machine that the build needs, and nothing twice:
#   1. the Debian packages (only the missing ones; apt is not touched when none is missing),
#   2. LibTorch out of the PyPI wheel, in a cache that all clones on the machine share.
#
# FORETELL_CACHE     where LibTorch is kept (default: ${XDG_CACHE_HOME:-$HOME/.cache}/foretell)
# FORETELL_WHEELS    a folder with the wheels: nothing is downloaded
# FORETELL_CUDA      1: also the CUDA run-time wheels that libtorch_cuda needs
# CMAKE_PREFIX_PATH  where it names a LibTorch, that one is used and none is installed
#
# usage: setup.sh [docs]    docs: only what `make docs` needs
set -euo pipefail

readonly torch_version=2.11.0
cache=${FORETELL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/foretell}
libtorch=$cache/libtorch-$torch_version
cuda=${FORETELL_CUDA:-0}
case $cuda in 1 | ON | on | TRUE | true | yes) cuda=1 ;; *) cuda=0 ;; esac

say() { printf 'setup: %s\n' "$*"; }
die() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# ---- Debian packages ----------------------------------------------------------------------------------------------------------------

# A tool counts as present wherever it comes from; a library only as its package.
tools=(cmake:cmake ninja:ninja-build g++:g++ pkg-config:pkgconf)
libraries=(libfmt-dev libyaml-cpp-dev libeigen3-dev libcli11-dev nlohmann-json3-dev catch2 libpcre2-dev libutf8proc-dev libsentencepiece-dev coinor-libclp-dev libdivsufsort-dev libxxhash-dev)
# These only make the build quicker or add micro-benchmarks, charts (Chart.js) and databases (SQLite) of reports, so their absence stops nobody who has no root.
# shellcheck disable=SC2034  # used by name
optional_tools=(ccache:ccache mold:mold)
# shellcheck disable=SC2034
optional_libraries=(libbenchmark-dev libjs-chart.js libsqlite3-dev)

# Tools of one target each, for those who ask for them: setup.sh [clang | docs | coverage]
only_docs=0
case ${1:-} in
  '') ;;
  clang) tools+=(clang++:clang clang-format:clang-format clang-tidy:clang-tidy shellcheck:shellcheck) ;;
  coverage) tools+=(gcovr:gcovr) ;;
  docs)  # the API reference needs no compiler and no library
    only_docs=1
    tools=(doxygen:doxygen)
    libraries=()
    # shellcheck disable=SC2034
    optional_tools=()
    # shellcheck disable=SC2034
    optional_libraries=()
    ;;
  *) die "unknown argument '$1'; known: clang, coverage, docs" ;;
esac

missing_packages() {  # NAME_OF_TOOL_LIST NAME_OF_LIBRARY_LIST
  local -n tool_list=$1 library_list=$2
  local pair package
  for pair in "${tool_list[@]}"; do
    command -v "${pair%%:*}" >/dev/null || printf '%s\n' "${pair##*:}"
  done
  for package in "${library_list[@]}"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || printf '%s\n' "$package"
  done
}

install_packages() {
  if ! command -v dpkg-query >/dev/null; then
    say "this is no Debian: the packages are up to you (${tools[*]##*:} ${libraries[*]})"
    return
  fi
  local required optional
  mapfile -t required < <(missing_packages tools libraries)
  mapfile -t optional < <(missing_packages optional_tools optional_libraries)
  # A bare Debian's python3 has no pip; it is needed only to download.
  if [[ $needs_pip == 1 ]] && ! python3 -m pip --version >/dev/null 2>&1; then required+=(python3-pip); fi
  local wanted=("${required[@]}" "${optional[@]}")
  if ((${#wanted[@]} == 0)); then return; fi

  local root=()
  if ((EUID != 0)); then
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; then
      root=(sudo)
    elif ((${#required[@]} == 0)); then
      say "going on without ${optional[*]} (optional: a quicker build, micro-benchmarks, charts and databases of reports)"
      return
    else
      die "these Debian packages are missing and installing them needs root; ask an administrator for:
  apt-get install --no-install-recommends ${wanted[*]}"
    fi
  fi
  say "installing ${wanted[*]}"
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q update
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${wanted[@]}"
}

# ---- LibTorch -----------------------------------------------------------------------------------------------------------------------

# The same rule as cmake/LibTorch.cmake: a prefix, or the folder share/cmake inside it.
user_libtorch() {
  local IFS=':;' prefix candidate
  for prefix in ${CMAKE_PREFIX_PATH:-}; do
    for candidate in "$prefix" "$prefix/../.."; do
      if [[ -e $candidate/lib/libtorch_cpu.so ]]; then
        printf '%s\n' "$candidate"
        return
      fi
    done
  done
}

readonly wheels=("torch==$torch_version" "nvidia-cuda-cupti==13.0.*" "nvidia-cuda-runtime==13.0.*")
# What torch 2.11.0 and its cuda-toolkit 13.0.2 ask for in their metadata; cupti and the run time are above.
readonly cuda_wheels=("nvidia-cublas==13.1.0.3" "nvidia-cuda-nvrtc==13.0.88" "nvidia-cudnn-cu13==9.19.0.56" "nvidia-cufft==12.0.0.61"
  "nvidia-cufile==1.15.1.6" "nvidia-curand==10.4.0.35" "nvidia-cusolver==12.0.4.66" "nvidia-cusparse==12.6.3.3" "nvidia-cusparselt-cu13==0.8.0"
  "nvidia-nccl-cu13==2.28.9" "nvidia-nvjitlink==13.0.88" "nvidia-nvshmem-cu13==3.4.5" "nvidia-nvtx==13.0.85")

fetch_wheels() {  # TO REQUIREMENT...
  local to=$1 machine glibc platforms=(--platform "manylinux2014_$(uname -m)")
  shift
  machine=$(uname -m)
  if [[ -n ${FORETELL_WHEELS:-} ]]; then
    # Without an index pip only picks by name and version; a name pattern does that too, and then pip need not be there.
    local requirement name version found
    for requirement in "$@"; do
      name=${requirement%%==*}
      version=${requirement##*==}
      found=$(compgen -G "$FORETELL_WHEELS/${name//-/_}-${version%.\*}[-.+]*$machine.whl" | sort -V | tail -n 1) ||
        die "FORETELL_WHEELS=$FORETELL_WHEELS has no wheel for $requirement ($machine)"
      ln -s "$(realpath "$found")" "$to/"
    done
    return
  fi
  # Naming the platform and the Python makes the answer the same under any python3: only the C++ parts are kept. pip does not take an older
  # glibc's tag by itself.
  for glibc in {17..28}; do platforms+=(--platform "manylinux_2_${glibc}_$machine"); done
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --implementation cp --python-version 3.11 \
    "${platforms[@]}" --dest "$to" "$@"
}

# Everything lands in one lib/ and one include/: the libraries look beside themselves ($ORIGIN) for what they need.
unpack_wheels() {  # FROM TO
  python3 - "$1" "$2" <<'PYTHON'
import pathlib, shutil, sys, zipfile

source, target = map(pathlib.Path, sys.argv[1:])
for wheel in sorted(source.glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            parts = pathlib.PurePosixPath(entry.filename).parts
            if entry.is_dir() or ".." in parts:
                continue
            # torch/lib/..., torch/include/..., nvidia/cu13/lib/..., nvidia/cudnn/include/...
            depth = 1 if parts[0] == "torch" else 2 if parts[0] == "nvidia" else None
            if depth is None or len(parts) <= depth + 1 or parts[depth] not in ("lib", "include"):
                continue
            if parts[-1] in ("libtorch_python.so", "libshm.so", "__init__.py"):
                continue
            # CUDA's own headers stay apart, so that a build without CUDA cannot include them by accident.
            kind = parts[depth] if depth == 1 or parts[depth] == "lib" else "include-cuda"
            path = target / kind / pathlib.PurePosixPath(*parts[depth + 1:])
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry) as reader, open(path, "wb") as writer:  # zipfile checks the CRC as it reads
                shutil.copyfileobj(reader, writer, 1 << 20)
PYTHON
}

install_libtorch() {
  mkdir -p "$cache"
  # One at a time for each cache. The lock is kept on a file descriptor and is gone with this process, however that ends.
  exec 9>"$cache/.lock"
  flock 9
  if libtorch_is_there; then return; fi
  rm -rf "$cache"/.unpacking.*  # what an interrupted set-up left; we hold the lock, so nobody is writing there
  local work
  work=$(mktemp -d "$cache/.unpacking.XXXXXX")
  # shellcheck disable=SC2064  # the folder's name is wanted as it is now
  trap "rm -rf '$work'" EXIT
  mkdir "$work/wheels" "$work/libtorch"
  local wanted=("${wheels[@]}")
  if [[ $cuda == 1 ]]; then wanted+=("${cuda_wheels[@]}"); fi
  say "fetching LibTorch $torch_version (once for this machine) into $cache"
  fetch_wheels "$work/wheels" "${wanted[@]}"
  say "unpacking"
  unpack_wheels "$work/wheels" "$work/libtorch"
  [[ -e $work/libtorch/lib/libtorch_cpu.so ]] || die "the torch wheel has no lib/libtorch_cpu.so"
  if [[ $cuda == 1 ]]; then touch "$work/libtorch/has-cuda"; fi
  # A folder comes into being under its final name only when it is whole. One without CUDA makes way for one with.
  if [[ -e $libtorch ]]; then mv "$libtorch" "$work/replaced"; fi
  mv "$work/libtorch" "$libtorch"
}

libtorch_is_there() {
  [[ -e $libtorch/lib/libtorch_cpu.so ]] && { [[ $cuda == 0 ]] || [[ -e $libtorch/has-cuda ]]; }
}

needs_pip=0
if [[ $only_docs == 1 ]]; then
  install_packages
  exit 0
fi
found=$(user_libtorch)
if [[ -z $found && -z ${FORETELL_WHEELS:-} ]] && ! libtorch_is_there; then needs_pip=1; fi
install_packages
if [[ -n $found ]]; then
  say "using the LibTorch of CMAKE_PREFIX_PATH: $found"
elif ! libtorch_is_there; then
  install_libtorch
fi
