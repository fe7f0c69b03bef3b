#!/usr/bin/env bash
# Check the packed files on a machine that has a GPU and no network. It needs Python, CUDA and cuDNN,
# the latter two also as NVIDIA's Python packages, which come with PyTorch.
#
#   cat cuda-check.tar.* | tar -xf -
#   bash cuda-check/run.sh --out cuda.json
#
# Options are those of benchmarks/cuda/check.py, such as --provider cpu.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
tag=$("$python" -c 'import sys; print(f"cp{sys.version_info[0]}{sys.version_info[1]}")')

if compgen -G "$here/wheels/*-$tag-*.whl" >/dev/null; then
  # An environment of its own: another ONNX Runtime may be installed, and two of them do not get along.
  "$python" -m venv --without-pip "$here/env"
  site=$("$here/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  for wheel in "$here"/wheels/*-"$tag"-*.whl; do "$python" -m zipfile -e "$wheel" "$site"; done
  # ONNX Runtime looks for NVIDIA's packages beside itself.
  nvidia=$("$python" -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null || true)
  if [[ -n $nvidia ]]; then ln -sfn "$nvidia" "$site/nvidia"; fi
  python="$here/env/bin/python"
fi
PYTHONPATH="$here" exec "$python" -P -m benchmarks.cuda.check "$here" "$@"
