"""Make a model repository for Triton of the bundled files, or of files of your own.

python deploy/triton/make_repository.py REPOSITORY [MODEL ...]

Each model becomes REPOSITORY/fsnp_INTERFACE with its config.pbtxt. Names, sizes and the state come
from the metadata of the file.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from fsnp_onnx import Enhancer, ModelSpec
from fsnp_onnx.runtime.bundled import MODELS

HEAD = """# Made by deploy/triton/make_repository.py from the metadata of the model.
name: "{name}"
backend: "onnxruntime"
max_batch_size: {batch}
input [ {{ name: "noisy" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [ {{ name: "enhanced" data_type: TYPE_FP32 dims: [ -1 ] }} ]
"""
# Only requests of equal length share a batch: Triton keeps to that by default, and the network asks for it.
WAVEFORM = """dynamic_batching { max_queue_delay_microseconds: 5000 }
"""
# The client says which requests are one stream and which is the first; the state stays in the server.
STREAM = """sequence_batching {{
  max_sequence_idle_microseconds: 20000000
  oldest {{ max_candidate_sequences: 64 }}
  state [
    {{
      input_name: "{input}"
      output_name: "{output}"
      data_type: TYPE_FP32
      dims: [ {size} ]
      initial_state [
        {{ name: "silence" data_type: TYPE_FP32 dims: [ {size} ] zero_data: true }}
      ]
    }}
  ]
}}
parameters [ {{ key: "intra_op_thread_count" value: {{ string_value: "1" }} }} ]
"""


def config(spec: ModelSpec) -> str:
    """Return config.pbtxt for a file with the interface waveform or stream.

    Raises:
        SystemExit: The interface is another one.
    """
    name = f"fsnp_{spec.interface}"
    if spec.interface == "waveform":
        return HEAD.format(name=name, batch=8) + WAVEFORM
    if spec.state is None:
        raise SystemExit(
            f"error: Triton's clients have no transform for the {spec.interface} interface; "
            "export with --interface waveform or stream"
        )
    state = {"input": spec.state.input, "output": spec.state.output, "size": spec.state.size}
    return HEAD.format(name=name, batch=16) + STREAM.format(**state)


def make_repository(repository: Path, models: list[Path]) -> None:
    """Copy each model into the repository and write its configuration beside it."""
    for model in models:
        spec = Enhancer(model).spec
        text = config(spec)
        folder = repository / f"fsnp_{spec.interface}"
        (folder / "1").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model, folder / "1" / "model.onnx")
        (folder / "config.pbtxt").write_text(text, "utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    own = [Path(model) for model in sys.argv[2:]]
    bundled = [MODELS / "default-waveform.onnx", MODELS / "live.onnx"]
    make_repository(Path(sys.argv[1]), own or bundled)
