"""The models that ship: NAME.onnx with its card NAME.json, and calibration.json."""
