"""Checkpoints that other tools load: a diffusers folder, ONNX, torch.export."""

FORMATS = ("diffusers", "onnx", "pt2")
