"""``python -m fsnp_onnx`` is fsnp-enhance."""

from fsnp_onnx.cli.start import enhance

enhance()
