#!/usr/bin/env bash
# Downloads the wheels that a bare CUDA image (PyTorch, transformers, peft, accelerate) lacks for benchmarks/gpu.py, and no
# others: without their dependencies, for another machine's Python if need be.
#
#   benchmarks/gpu_wheels.sh [FOLDER] [PYTHON]       (.whl and 3.12; x86-64 Linux)
#
# There:  python3 -m pip install -q --no-index --no-deps --no-compile --target /tmp/site FOLDER/*.whl
#         PYTHONPATH=/tmp/site python3 benchmarks/gpu.py --minutes 8
#
# 47 MB, 43 of them bitsandbytes with its libraries for every CUDA from 11.8 to 13.2. More than 60 MB is an error.
set -euo pipefail

folder="${1:-.whl}"
version="${2:-3.12}"
limit=$((60 * 1000 * 1000))
python="${PYTHON:-python3}"

wheels=(
  trl==1.16.0
  bitsandbytes==0.50.2
  datasets==5.2.0 dill==0.4.1 multiprocess==0.70.19                                    # datasets and what it needs
  math-verify==0.9.0 latex2sympy2_extended==1.11.0 antlr4-python3-runtime==4.13.2      # math-verify, likewise
  nltk==3.10.4 defusedxml==0.7.1                                                       # rouge-score, likewise
)
built=(rouge-score==0.1.2) # pure Python that comes as source alone

mkdir -p "$folder"
platforms=()
for tag in manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux1; do
  platforms+=(--platform "${tag}_x86_64")
done
"$python" -m pip download -q --no-deps --only-binary=:all: --python-version "$version" --implementation cp \
  "${platforms[@]}" -d "$folder" "${wheels[@]}"
"$python" -m pip wheel -q --no-deps -w "$folder" "${built[@]}"

size=$(cat "$folder"/*.whl | wc -c)
echo "$(find "$folder" -name '*.whl' | wc -l) wheels, $size bytes, in $folder"
if [ "$size" -gt "$limit" ]; then
  echo "These are more than $limit bytes; remove wheels of an earlier call from $folder." >&2
  exit 1
fi
