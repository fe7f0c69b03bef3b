"""``python -m fsnp_onnx`` is fsnp-enhance."""

from fsnp_onnx.cli.enhance import main

main()
