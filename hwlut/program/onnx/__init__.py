"""Programs as ONNX files of standard operators."""
